"""The pages of operators. To everybody else each address under /admin/ answers 404."""

from webapp.web.admin import codes, coupons, people
from webapp.web.admin.guard import bp

__all__ = ["bp", "codes", "coupons", "people"]
