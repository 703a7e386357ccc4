"""One coupon's queue in Redis. It knows no Flask and no SQL."""
