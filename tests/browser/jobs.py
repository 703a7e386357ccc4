"""The jobs of a marketing team, each done as a person does it: from the console's first page, by what is seen there.

A step is a link or a button that is pressed, and a part of the page that is unfolded. Typing into a field, choosing
and ticking are none: the page that has the field took a step already. `JOBS` names the jobs as docs/campaign.md does;
a job is a function that takes a `Marketer` and the title of a draft, which stands in the console's list.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.values.test_pictures import file_of

KOREA = timezone(timedelta(hours=9))
REHEARSED_MS = 120_000


def friday_at_20(weeks: int = 0) -> str:
    """Return 20:00 of a Friday to come in Korea, at least a day ahead, as people type it into a field for times."""
    tomorrow = datetime.now(UTC).astimezone(KOREA) + timedelta(days=1)
    friday = tomorrow + timedelta(days=(4 - tomorrow.weekday()) % 7, weeks=weeks)
    return f"{friday:%Y-%m-%d}T20:00"


def in_minutes(minutes: int) -> str:
    """Return the time in Korea in so many minutes, as people type it."""
    return f"{datetime.now(KOREA) + timedelta(minutes=minutes):%Y-%m-%dT%H:%M}"


@dataclass
class Marketer:
    """An operator with the console's first page open; `steps` counts what was pressed since."""

    page: Page
    steps: int = 0
    colleague: Page | None = None
    """The console's first page of another operator, where a job takes two."""

    def press(self, name: str) -> None:
        """Press the one link or button of that name, and wait for the page that it leads to."""
        named = {"name": name, "exact": True}
        there = self.page.get_by_role("link", **named).or_(self.page.get_by_role("button", **named))
        with self.page.expect_navigation():
            there.click()
        self.steps += 1

    def unfold(self, summary: str) -> None:
        """Unfold the part of the page that has this summary."""
        self.page.get_by_text(summary, exact=True).click()
        self.steps += 1

    def fill(self, fields: dict[str, str], section: str | None = None) -> None:
        """Fill fields by their labels, on the whole page or in the section under a heading."""
        where = self.page.get_by_role("region", name=section, exact=True) if section else self.page
        for label, text in fields.items():
            where.get_by_label(label, exact=True).fill(text)

    def attach(self, label: str, name: str, kind: str, contents: bytes) -> None:
        file = {"name": name, "mimeType": kind, "buffer": contents}
        self.page.get_by_label(label, exact=True).set_input_files(file)

    def reads(self, text: str, within_ms: float | None = None) -> None:
        expect(self.main()).to_contain_text(text, timeout=within_ms)

    def main(self) -> Locator:
        return self.page.get_by_role("main")


def create(marketer: Marketer, title: str) -> None:
    marketer.press("새 쿠폰")
    marketer.fill(
        {
            "제목": title,
            "수량": "5,000",
            "시작 시각": friday_at_20(),
            "종료 시각": friday_at_20().replace("T20", "T22"),
            "할인 금액 (원)": "5,000",
            "최소 주문 금액 (원)": "20,000",
            "사용 기한": friday_at_20(weeks=4),
        }
    )
    marketer.press("초안 만들기")
    marketer.reads("초안을 저장했어요")


def preview(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("미리 보기")
    marketer.press("미리 보기 열기")
    marketer.press("발급")
    marketer.reads("축하해요! 쿠폰을 받았어요")


def edit(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.fill({"제목": f"{title} 더", "할인 금액 (원)": "7,000"}, section="고치기")
    marketer.press("저장하기")
    marketer.reads("저장했어요")


def picture_and_terms(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("내용")
    marketer.fill({"설명": "**바삭한** 치킨을 만나요.", "유의사항": "- 1인 **1매**만 받을 수 있어요"})
    marketer.press("저장하기")
    marketer.press("사진")
    banner = file_of(Image.new("RGB", (1600, 800), "#f5a524"), "JPEG")
    marketer.attach("사진", "chicken.jpg", "image/jpeg", banner)
    marketer.press("올리기")
    marketer.reads("지금 사진")


def member_list(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("받을 수 있는 분")
    people = b"email\nminji@example.com\nsumin@example.com\n"
    marketer.attach("한 줄에 이메일이나 회원 키가 하나씩 있는 CSV 파일", "members.csv", "text/csv", people)
    marketer.press("파일 확인하기")
    marketer.press("2명을 명단에 넣기")
    marketer.reads("저장했어요")


def own_codes(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("쿠폰 코드")
    marketer.attach(
        "한 줄에 코드가 하나씩 있는 CSV 파일",
        "codes.csv",
        "text/csv",
        "".join(f"{code}\n" for code in codes_for(title)).encode(),
    )
    marketer.press("파일 확인하기")
    marketer.press("코드 2개 넣기")
    marketer.reads("저장했어요")


def codes_for(title: str) -> list[str]:
    """Return two codes of a shop's own, which no other title has."""
    return [f"Shop-{title.split()[-1]}-{number:03}" for number in (7, 8)]


def daily_waves(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("나눠 열기")
    first = friday_at_20().replace("T20", "T10")
    marketer.fill({"1차 시작": first, "몇 차로 나눌까요?": "5", "차수마다 수량": "500"})
    marketer.press("차수 만들기")
    marketer.reads("5차로 나눠 여는 캠페인이에요")


def standby(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.fill({"예비 인원": "50"}, section="고치기")
    marketer.press("저장하기")
    marketer.reads("저장했어요")


def duplicate(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("복제")
    start = friday_at_20(weeks=1)
    marketer.fill({"시작 시각": start, "종료 시각": start.replace("T20", "T22")})
    marketer.press("초안 만들기")
    marketer.reads("초안을 저장했어요")


def going_live(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("점검하고 공개하기 …")
    for warning in marketer.page.get_by_role("checkbox").all():
        warning.check()
    marketer.press("공개하기")
    marketer.reads("공개했어요")


def rehearse(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("리허설")
    marketer.press("지금 리허설하기")
    marketer.reads("리허설을 잘 마쳤어요", within_ms=REHEARSED_MS)


def invite_a_till(marketer: Marketer, title: str) -> None:
    _invite(marketer, "계산대", f"{title} 매장")


def invite_a_viewer(marketer: Marketer, title: str) -> None:
    _invite(marketer, "보기 전용", f"{title} 재무팀")


def _invite(marketer: Marketer, role: str, label: str) -> None:
    marketer.press("팀")
    form = marketer.page.get_by_role("region", name="동료 초대하기", exact=True)
    form.get_by_label("권한", exact=True).select_option(label=role)
    form.get_by_label("받을 분 (선택)", exact=True).fill(label)
    marketer.press("링크 만들기")
    marketer.reads("이 링크를 동료에게 보내 주세요")


def export_for_excel(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("내보내기")
    with marketer.page.expect_download() as begun:
        marketer.page.get_by_role("link", name="당첨자 (엑셀)").click()
    marketer.steps += 1
    file = begun.value
    assert file.suggested_filename.startswith(f"당첨자 {title}")
    assert file.suggested_filename.endswith(".csv")
    assert file.path().read_bytes().startswith("\ufeff순번,이메일,이름".encode())


def the_report(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("결과 보고서")
    marketer.reads("쿠폰 1장 모두 앞선 순번부터 차례대로")


def redemption_rates_and_expired(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("결과 보고서")
    marketer.reads("기한 안에 쓰지 않은 쿠폰이 1장")


def two_people_decide(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.fill({"수량": "800"}, section="수량 바꾸기")
    marketer.press("수량 바꾸기")
    marketer.reads("아직 바뀐 것은 없어요")
    assert marketer.colleague is not None
    marketer.page = marketer.colleague
    marketer.page.reload()
    marketer.press("확인할 제안 1")
    marketer.reads("500 → 800")
    marketer.press("확인하고 실행하기")
    marketer.reads("확인하고 실행했어요")


def watch_live(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.press("실시간으로 보기")
    marketer.reads("초당 신청")
    marketer.reads("진행 중이에요.")


def pause_and_explain(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.unfold("이유와 시각 알리기")
    marketer.page.get_by_label("안내문", exact=True).select_option("결제에 문제가 생겨 확인하고 있어요.")
    marketer.fill({"다시 시작할 시각": in_minutes(20)})
    marketer.press("안내하고 멈추기")
    marketer.reads("저장했어요")


def resume_and_extend(marketer: Marketer, title: str) -> None:
    marketer.press(title)
    marketer.reads("20분 더 신청할 수 있어요")
    marketer.page.get_by_label("멈춘 시간만큼 기간 늘리기", exact=True).check()
    marketer.press("다시 시작하기")
    marketer.reads("저장했어요")


JOBS: dict[str, Callable[[Marketer, str], None]] = {
    "create for Friday 20:00": create,
    "preview": preview,
    "edit": edit,
    "picture and terms": picture_and_terms,
    "member list": member_list,
    "own codes": own_codes,
    "daily waves": daily_waves,
    "standby for late comers": standby,
    "duplicate": duplicate,
    "checks before going live": going_live,
    "rehearse": rehearse,
    "invite a till": invite_a_till,
    "invite a viewer": invite_a_viewer,
    "export for Excel": export_for_excel,
    "the report": the_report,
    "redemption rates and expired": redemption_rates_and_expired,
    "watch live": watch_live,
    "pause and explain": pause_and_explain,
    "resume and extend": resume_and_extend,
    "two people decide": two_people_decide,
}
OF_TWO = {"two people decide"}
"""The jobs that take two operators, on a server on which two people decide."""
OF_OWNERS = {"invite a till", "invite a viewer"}
"""The jobs that an owner alone may do."""
