"""Points for goods: merchants, offers, holds and what becomes of them, codes and caps."""
