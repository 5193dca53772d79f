"""A tree of Jianxi's size for tries and tests: 72 communities in four types, 581 compounds.

The names are numbers: no place that exists is meant. Every run gives the same.
"""

from collections.abc import Iterator, Mapping

from timebank.domain.branches import BranchLevel, BranchRow

SUBDISTRICTS = 13
COMMUNITIES = 72
COMPOUNDS = 581
CENTRES = 23
NEIGHBOURHOOD_CENTRES = 163

COMMUNITY_TYPES: Mapping[str, str] = {"a": "甲类", "b": "乙类", "c": "丙类", "d": "丁类"}


def list_demo_branches(root_code: str) -> Iterator[BranchRow]:
    """Yield all branches below the root, parents first, spread evenly."""
    for n in range(SUBDISTRICTS):
        centres = range(n, CENTRES, SUBDISTRICTS)
        yield BranchRow(
            code=f"s{n + 1:02}",
            name=f"{n + 1}号街道",
            level=BranchLevel.SUBDISTRICT,
            parent_code=root_code,
            service_points=[f"{centre + 1}号党群服务中心" for centre in centres],
        )
    types = list(COMMUNITY_TYPES)
    for n in range(COMMUNITIES):
        yield BranchRow(
            code=f"c{n + 1:02}",
            name=f"{n + 1}号社区",
            level=BranchLevel.COMMUNITY,
            parent_code=f"s{n % SUBDISTRICTS + 1:02}",
            community_type=types[n % len(types)],
            service_points=[f"{n + 1}号社区服务站"],
        )
    for n in range(COMPOUNDS):
        has_centre = n < NEIGHBOURHOOD_CENTRES
        yield BranchRow(
            code=f"x{n + 1:03}",
            name=f"{n + 1}号小区",
            level=BranchLevel.COMPOUND,
            parent_code=f"c{n % COMMUNITIES + 1:02}",
            service_points=[f"{n + 1}号邻里中心"] if has_centre else [],
        )
