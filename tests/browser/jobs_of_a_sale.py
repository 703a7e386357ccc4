"""The jobs of whoever runs a sale and answers those who complain: see `tests.browser.jobs`.

Each of them is about a live coupon with the title, and `somebody(title)` is the address of the person whom it is about.
"""

from collections.abc import Callable

from sqlalchemy import select

from tests.browser.jobs import Marketer
from webapp.models import Coupon, CouponIssue
from webapp.stores.sql import db

ADDRESS_OR_MORE = "이메일, 이름, 회원번호, 쿠폰 코드 또는 순번"


def somebody(title: str) -> str:
    """Return an address that belongs to this title alone."""
    return f"minji-{title.split()[-1]}@example.com"


def raise_the_quota(marketer: Marketer, title: str) -> None:
    _change_the_quota(marketer, title, "5", "대기 순번에 있는 2명이 지금 쿠폰을 받아요")


def lower_the_quota(marketer: Marketer, title: str) -> None:
    _change_the_quota(marketer, title, "2", "줄을 선 사람 중 2명은 받을 수 있었지만 받지 못하게 돼요")


def _change_the_quota(marketer: Marketer, title: str, quota: str, consequence: str) -> None:
    marketer.press(title)
    marketer.fill({"수량": quota}, section="수량 바꾸기")
    marketer.press("수량 바꾸기")
    marketer.reads("이대로 바꿀까요?")
    marketer.reads(consequence)
    marketer.press("저장하기")
    marketer.reads("저장했어요")


def close(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("마감…")
    marketer.reads("쿠폰을 마감할까요?")
    marketer.press("쿠폰 마감하기")
    marketer.reads("저장했어요")


def find(outcome: str) -> Callable[[Marketer, str], None]:
    """Return the job of finding somebody whose page tells this outcome."""

    def found(marketer: Marketer, title: str) -> None:
        _find(marketer, title)
        marketer.reads(outcome)

    return found


def find_who_came_late(marketer: Marketer, title: str) -> None:
    _find(marketer, title)
    marketer.page.get_by_label("쿠폰", exact=True).select_option(label=title)
    marketer.press("확인")
    marketer.reads("쿠폰이 모두 나가기 전에 도착한 요청이 없어요")


def _find(marketer: Marketer, title: str) -> None:
    marketer.press("사람 찾기")
    marketer.fill({ADDRESS_OR_MORE: somebody(title)})
    marketer.press("찾기")
    marketer.press(somebody(title))


def prove_the_order(marketer: Marketer, title: str) -> None:
    _find(marketer, title)
    marketer.press("접수증 보기")
    marketer.reads("저희가 서명한 접수증이 맞고, 바뀐 곳이 없어요.")


def revoke_one(marketer: Marketer, title: str) -> None:
    _find(marketer, title)
    marketer.press("쿠폰 보기·회수하기")
    marketer.fill({"사유": "부정 사용"})
    marketer.press("회수하기")
    marketer.reads("회수된 코드예요")


def revoke_a_hundred(marketer: Marketer, title: str) -> None:
    marketer.press("코드 확인")
    marketer.press("목록으로 쿠폰 한꺼번에 회수하기 …")
    marketer.fill({"코드(한 줄에 하나씩)": "\n".join(codes_of(title)), "사유": "결제 취소"})
    marketer.press("먼저 확인하기")
    marketer.reads("100")
    marketer.press("쿠폰 100장 회수하기")


def codes_of(title: str) -> list[str]:
    """Return the codes of a sale, as they stand in its file for Excel."""
    issued = select(CouponIssue.code).join(Coupon, Coupon.id == CouponIssue.coupon_id)
    return list(db.session.scalars(issued.where(Coupon.title == title)))


def who_changed_what(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("운영 기록")
    marketer.reads("수량")
    marketer.reads("10 → 20")


JOBS: dict[str, Callable[[Marketer, str], None]] = {
    "raise": raise_the_quota,
    "lower": lower_the_quota,
    "close": close,
    "find who won": find("쿠폰 당첨"),
    "find who lost": find("모두"),
    "find who was refused": find("제외"),
    "find who came late": find_who_came_late,
    "prove the order": prove_the_order,
    "revoke one": revoke_one,
    "revoke a hundred": revoke_a_hundred,
    "who changed what": who_changed_what,
}
