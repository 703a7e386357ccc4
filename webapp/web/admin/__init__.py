"""The pages of operators. To everybody else each address under /admin/ answers 404."""

from webapp.web.admin import codes, content, coupons
from webapp.web.admin.guard import bp

__all__ = ["bp", "codes", "content", "coupons"]
