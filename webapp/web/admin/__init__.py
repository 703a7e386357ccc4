"""The pages of operators. To everybody else each address under /admin/ answers 404."""

from webapp.web.admin import campaigns, checking, codes, content, coupons, people, rehearsals, waves
from webapp.web.admin.guard import bp

__all__ = ["bp", "campaigns", "checking", "codes", "content", "coupons", "people", "rehearsals", "waves"]
