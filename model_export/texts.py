"""Fixed texts: probes that a consumer checks a bundle by, and hostile ones that must not break it."""

from typing import Final

# Plain, and far from the borders between labels: what int8 or another CPU moves a little, a broken graph moves a lot.
PROBES: Final = (
    "Terrible update: the app crashes whenever I open the settings, and I lose all my work.",
    "Please add a dark mode to the editor.",
    "Great service, the staff were friendly and everything arrived on time. Thank you!",
    "I waited forty minutes for a cold meal and nobody apologised.",
    "How do I change the email address of my account?",
    "Tip: hold the power button for ten seconds and the router starts afresh.",
    "The installation guide does not say which Python version is needed, please add it.",
    "The meeting is on Tuesday at nine.",
)

HOSTILE: Final = (
    "",
    " ",
    "x",
    "." * 10_000,
    "word " * 2_000,
    "a" * 10_000,
    "😀🔥👩‍👩‍👧‍👦" * 50,
    "null\x00byte",
    "\u202ertl \u200b zero width \ufeff",
    "Приложение не работает 应用程序崩溃 التطبيق لا يعمل アプリ",
    "e\u0301" * 200,
    "'; DROP TABLE feedback; -- <script>alert(1)</script> {{7*7}}",
    "[CLS] [SEP] [MASK] [PAD] [UNK]",
)
