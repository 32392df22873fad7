"""Which tests call which functions of the driver, in-process and through gpud, from the tests' sources."""

import re

FOLDERS = ("tests/conformance", "tests/pitfalls")  # each of their programs runs both ways
SHOWN = 3


def calls_in(text):
    """The functions of the driver that C++ text names outside of comments and strings."""
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r'R"\((?:.|\n)*?\)"', '""', text)
    text = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', text)
    return set(re.findall(r"\bcu[A-Z]\w*", text))


def find(repository):
    """Function -> names of the tests that call it, sorted."""
    tests = {}
    for folder in FOLDERS:
        for path in sorted((repository / folder).glob("*_test.cc")):
            for call in calls_in(path.read_text()):
                tests.setdefault(call, []).append(path.stem.removesuffix("_test"))
    return tests


def of_function(tests, function):
    """The tests of a function or of its per-thread form, that of its chapter first."""
    names = set(tests.get(function.name, [])) | set(tests.get(function.per_thread_form, []))
    return sorted(names, key=lambda name: (name != function.chapter, name))


def shown(names):
    """As the coverage table has it."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
