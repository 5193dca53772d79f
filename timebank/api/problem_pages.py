"""The page behind every problem's `type`: what a code means, in three languages."""

from html import escape
from importlib import resources
from string import Template

from litestar import MediaType, get
from litestar.params import FromPath

from timebank.api.problems import PROBLEM_KINDS
from timebank.domain.errors import NotFoundError
from timebank.people.access import Action

_PAGE = Template(resources.files("timebank.api").joinpath("problem.html").read_text("utf-8"))


@get(
    "/problems/{code:str}",
    media_type=MediaType.HTML,
    opt={"action": Action.PUBLIC},
    include_in_schema=False,
)
async def explain_problem(code: FromPath[str]) -> str:
    """Return the page of a code; 404 for one that does not exist."""
    kind = PROBLEM_KINDS.get(code)
    if kind is None:
        raise NotFoundError
    return _PAGE.substitute(
        code=escape(code),
        status=kind.status,
        zh_hans=escape(kind.zh_hans),
        zh_hant=escape(kind.zh_hant),
        en=escape(kind.en),
    )
