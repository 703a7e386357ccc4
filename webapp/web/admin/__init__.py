"""The pages of operators. To everybody else each address under /admin/ answers 404."""

from webapp.web.admin import campaigns, codes, content, coupons
from webapp.web.admin.guard import bp

__all__ = ["bp", "campaigns", "codes", "content", "coupons"]
