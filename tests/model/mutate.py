#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutate.py - breaks the library in one place at a time: some model test must notice.

ORDERS   Each ordering of an atomic access that is not relaxed is made one step weaker, while a program runs
         (WEFT_MODEL_MUTATE): nothing is compiled. The tests that come by that access are run,
         the quickest first, until one fails; if none does and there is no explanation, the deep ones, and
         all with an old value at least. An access that is in no program survives.
CHECKS   mutations*.txt drop or change a line of the source each time. That is done in a copy of the tree. If no
         test notices, the deep ones of the same file are run, too.
         explorer/mutations.txt breaks the explorer, which its own tests must notice.
RESULT   What no test notices is a survivor, and needs an entry in survivors.txt that says why: keyed by
         function, operation and operand, so that it outlives moved lines. An entry for something
         that is noticed, or is no longer there, is stale. Either makes the exit code 1.

    mutate.py [--only TEXT] [--orders | --checks] [--unexplained] [--programs A,B] [--seconds N] [--list]
    mutate.py --structure FOLDER

--only TEXT      those whose key or file has it: a regular expression
--unexplained    those without an entry in survivors.txt, for which all tests run: are there new survivors?
--programs A,B   the tests of these programs only: deque,idle
--seconds N      a run that takes longer does not count as noticed; default 60
--list           only name them
--structure      of the programs in FOLDER, nothing is run or built: each check can be made, each explanation is of
                 something that there is, and of one of the kinds, and each ordering is in some program

WEFT_BUILD_DIR: where builds go, default build. JOBS: runs at a time, default one per processor.
The table of all goes to WEFT_BUILD_DIR/mutate.txt.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("WEFT_BUILD_DIR") or ROOT / "build")
if not BUILD.is_absolute():
    BUILD = ROOT / BUILD
HERE = ROOT / "tests/model"
MUTATIONS = tuple(sorted(path.name for path in HERE.glob("mutations*.txt"))) + ("explorer/mutations.txt",)
JOBS = int(os.environ.get("JOBS") or os.cpu_count() or 1)

RELAXED, ACQUIRE, RELEASE, ACQ_REL, SEQ_CST = 0, 2, 3, 4, 5
ORDER_NAMES = {RELAXED: "relaxed", ACQUIRE: "acquire", RELEASE: "release", ACQ_REL: "acq_rel",
               SEQ_CST: "seq_cst"}
# One step weaker, by what kind of access it is.
WEAKER = {
    "load": {SEQ_CST: [ACQUIRE], ACQUIRE: [RELAXED]},
    "store": {SEQ_CST: [RELEASE], RELEASE: [RELAXED]},
    "rmw": {SEQ_CST: [ACQ_REL], ACQ_REL: [ACQUIRE, RELEASE], ACQUIRE: [RELAXED],
            RELEASE: [RELAXED]},
    "fence": {SEQ_CST: [RELAXED]},
}
SITE = re.compile(r"SITE (src/[^:]+):(\d+):(\d+):(\d+):(-?\d+) (\w+) ?(.*)")
CALL = re.compile(r"\bwf_(?:(load|store|add|sub|or|and|swap|cas_weak|cas)_(?:u32|u64|ptr)|"
                  r"(fence)_seq_cst)\s*\(")
ORDERED = re.compile(r"WF_(?:ACQUIRE|RELEASE|ACQ_REL|SEQ_CST)\b")
KINDS = re.compile(r"(Limit|Another|Nothing|Hint|Elsewhere): ")
FAILED = re.compile(r"FAILED in execution \d+: (.*)|(FAILED: .*)")
# Words of the explorer's own limits: such an end says nothing about the library.
LIMITS = re.compile(r"more than \d+|in more than \d+ ways")


class Test:
    """One test of one program, with what it comes by and how long it takes."""

    def __init__(self, program, name):
        self.program, self.name = program, name
        self.sites, self.seconds = set(), 0.0

    def __str__(self):
        return f"{self.program.name.removeprefix('model_')}: {self.name}"

    def run(self, seconds, mutation=None, options=(), **settings):
        """Returns the exit code (None: took too long) and what it printed."""
        environment = {**os.environ, **settings}
        if mutation:
            environment["WEFT_MODEL_MUTATE"] = mutation
        try:
            done = subprocess.run([self.program, *options, self.name], env=environment,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return None, ""
        return done.returncode, done.stdout.decode(errors="replace")


class Script:
    """A script that is a test of the explorer: it gets the folder of the programs."""

    seconds = 30.0

    def __init__(self, folder, name):
        self.folder, self.name = folder, name

    def __str__(self):
        return self.name

    def run(self, seconds, _mutation=None, **_settings):
        try:
            done = subprocess.run([HERE / self.name, self.folder], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return None, ""
        return done.returncode, "FAILED: " + done.stdout.decode(errors="replace").strip()[-200:]


class Result:
    """What became of one mutation."""

    def __init__(self, key, verdict, detail):
        self.key, self.verdict, self.detail = key, verdict, detail


def say(text):
    print(text, flush=True)


def build(tree, folder):
    """All programs. None, or the lines that say why they do not compile."""
    return run_build([tree / "scripts/build.sh", "release", "model_programs"], folder)


def rebuild(folder, program):
    """One program, in a folder in which all were built before."""
    return run_build(["cmake", "--build", folder / "release", "--target", program], folder)


def run_build(command, folder):
    done = subprocess.run(command, env={**os.environ, "WEFT_BUILD_DIR": str(folder)},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        lines = done.stdout.decode(errors="replace").splitlines()
        return [line for line in lines if "error:" in line][:3] or lines[-3:]
    return None


def programs_of(folder, chosen):
    names = sorted(path.stem.removeprefix("test_") for path in HERE.glob("test_*.c"))
    return [folder / f"model_{name}" for name in names if not chosen or name in chosen.split(",")]


ABOUT_EXPLORER = ("model_litmus", "model_planted")


def list_tests(program, full=""):
    listed = subprocess.run([program, "--list"], stdout=subprocess.PIPE, check=True,
                            env={**os.environ, "WEFT_MODEL_FULL": full})
    return listed.stdout.decode().splitlines()


def find_tests(programs, deep=False):
    """All quick tests or all deep ones, short ones first. Those about the explorer come by nothing in src/."""
    tests = []
    for program in programs:
        quick = list_tests(program)
        names = [name for name in list_tests(program, "1") if name not in quick] if deep else quick
        tests += [Test(program, name) for name in names]

    def measure(test):
        begin = time.monotonic()
        code, output = test.run(600, options=["--reached"], WEFT_MODEL_SECONDS="5" if deep else "")
        if code != 0:
            sys.exit(f"mutate.py: {test} fails as it is:\n{output}")
        test.seconds = time.monotonic() - begin
        test.sites = set(SITE.findall(output))

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(measure, tests))
    return sorted(tests, key=lambda test: test.seconds)


def function_at(path, line):
    """The name of the function around a line: the last one that begins in the first column."""
    name = "?"
    for text in (ROOT / path).read_text().splitlines()[:line]:
        if not re.match(r"[A-Za-z_]", text) or text.endswith(";"):
            continue
        found = [word for word in re.findall(r"(\w+)\(", text)
                 if not re.fullmatch(r"__\w+__|WF_[A-Z_]+|format|printf|warn_unused_result", word)]
        if found:
            name = found[0]
    return name


def kind_of(operation):
    return operation if operation in ("load", "store", "fence") else "rmw"


def sites_of(programs):
    sites = set()
    for program in programs:
        listed = subprocess.run([program, "--sites"], stdout=subprocess.PIPE, check=True)
        sites |= set(SITE.findall(listed.stdout.decode()))
    return sites


def calls_in(text):
    """(first line, last line, operation, arguments) of each atomic access in a source."""
    text = re.sub(r"/\*.*?\*/", lambda comment: re.sub(r"[^\n]", " ", comment[0]), text, flags=re.S)
    for call in CALL.finditer(text):
        end, depth = call.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield (text.count("\n", 0, call.start()) + 1, text.count("\n", 0, end) + 1,
               call[1] or call[2], " ".join(text[call.end():end - 1].split()))


def unseen_orderings(sites):
    """The keys of those orderings in src/ that no program has in it."""
    lines, keys = {(site[0], int(site[1])) for site in sites}, []
    for source in sorted(ROOT.glob("src/**/*.[ch]")):
        path = str(source.relative_to(ROOT))
        if path == "src/base/atomic.h":
            continue
        for first, last, operation, arguments in calls_in(source.read_text()):
            if operation != "fence" and not ORDERED.search(arguments):
                continue
            if not any((path, line) in lines for line in range(first, last + 1)):
                keys.append(" ".join(f"{path} {function_at(path, first)} {operation} "
                                     f"{arguments.split(',')[0]} in no program".split()))
    return keys


def order_mutations(sites):
    """(key, site, argument of WEFT_MODEL_MUTATE) for each ordering and each weaker one."""
    mutations, seen = [], {}
    for site in sorted(sites, key=lambda site: (site[0], int(site[1]), site[2:])):
        path, line, number, order, failed, operation, operand = site
        places = [("", kind_of(operation), int(order), "ok")]
        if int(failed) >= 0:
            places.append((" failed", "load", int(failed), "failed"))
        for word, kind, at, which in places:
            for weaker in WEAKER[kind].get(at, []):
                name = " ".join(f"{path} {function_at(path, int(line))} {operation} {operand}".split())
                key = f"{name}{word} {ORDER_NAMES[at]}>{ORDER_NAMES[weaker]}"
                # The same access twice in one function: they are numbered.
                if seen.setdefault(key, set()) and line not in seen[key]:
                    seen[key].add(line)
                    key += f" #{len(seen[key])}"
                else:
                    seen[key].add(line)
                mutations.append((key, site, f"{path}:{line}:{number}:{at}:{weaker}:{which}"))
    return mutations


def judge(key, tests, seconds, mutation=None, prepare=None, **settings):
    """Runs the tests until one fails. prepare: called with each before; it may return why there is none."""
    slow, limits = [], []
    for test in tests:
        errors = prepare(test) if prepare else None
        if errors:
            return Result(key, "invalid", "does not compile: " + " | ".join(errors))
        code, output = test.run(max(seconds, 4 * test.seconds), mutation, **settings)
        if code is None:
            slow.append(test)
        elif code:
            found = FAILED.search(output)
            reason = (found.group(1) or found.group(2)) if found else f"exit code {code}"
            if not LIMITS.search(reason):
                return Result(key, "noticed", f"{test}: {reason}")
            limits.append(f"{test}: {reason}")
    if not tests:
        return Result(key, "survives", "no test comes by")
    detail = f"{len(tests)} tests pass"
    if slow:
        detail += f", {len(slow)} of them took too long: {slow[0]}"
    if limits:
        detail += f", {len(limits)} met a limit: {limits[0]}"
    return Result(key, "survives", detail)


def run_all(jobs):
    """jobs: functions that return a Result. Prints each as it is done."""
    results = []
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for done in concurrent.futures.as_completed([pool.submit(job) for job in jobs]):
            result = done.result()
            results.append(result)
            say(f"[{len(results)}/{len(jobs)}] {result.verdict}: {result.key}\n"
                f"    {result.detail}")
    return results


# --- checks ---


def read_checks(only):
    """'## name', '# prose', 'file: path', then lines '- old' and '+ new'."""
    checks, check = [], None
    lines = [(f"{name}:{number}", line) for name in MUTATIONS
             for number, line in enumerate((HERE / name).read_text().splitlines(), 1)]
    for where, line in lines:
        if line.startswith("## "):
            check = {"key": line[3:].strip(), "file": None, "old": [], "new": [], "where": where}
            checks.append(check)
        elif line.startswith("#") or not line.strip():
            continue
        elif line.startswith("file: ") and check:
            check["file"] = line[6:].strip()
        elif line[0] in "-+" and check and check["file"]:
            check["old" if line[0] == "-" else "new"].append(line[2:])
        else:
            sys.exit(f"{where}: cannot be read: {line}")
    checks = [check for check in checks if re.search(only, f"{check['key']} {check['file']}")]
    for check in checks:
        path = ROOT / check["file"]
        if not path.is_file() or change(path.read_text(), check) is None:
            sys.exit(f"{check['where']}: {check['key']}: not exactly once in {check['file']}")
    return checks


def change(text, check):
    """The text with the old lines replaced: compared without indentation, found exactly once."""
    lines = text.splitlines()
    old = [line.strip() for line in check["old"]]
    places = [i for i in range(len(lines) - len(old) + 1)
              if [line.strip() for line in lines[i:i + len(old)]] == old]
    if not old or len(places) != 1:
        return None
    lines[places[0]:places[0] + len(old)] = check["new"]
    return "\n".join(lines) + "\n"


def not_copied(folder, names):
    return [name for name in names if name in (".git", "__pycache__")
            or pathlib.Path(folder, name) in (BUILD, ROOT / "build")]


class Copies:
    """Copies of the tree, each built once, and then what a change needs; one for each job at a time."""

    def __init__(self, scratch, count):
        self.lock = threading.Lock()
        self.free = []
        for i in range(count):
            tree = scratch / f"tree{i}"
            shutil.copytree(ROOT, tree, symlinks=True, ignore=not_copied)
            errors = build(tree, tree / "build")
            if errors:
                sys.exit("mutate.py: a copy of the tree does not build:\n" + "\n".join(errors))
            self.free.append(tree)

    def judge(self, check, tests, seconds):
        with self.lock:
            tree = self.free.pop()
        path = tree / check["file"]
        before, built = path.read_text(), set()

        def prepare(test):
            """Programs are built when it is their turn: one of the first notices, as a rule."""
            target = test.program.name if isinstance(test, Test) else "model_programs"
            errors = None if target in built else rebuild(tree / "build", target)
            built.add(target)
            return errors

        try:
            path.write_text(change(before, check))
            folder, copies = tree / "build/release/tests/model", []
            for test in tests:
                copy = Test(folder / test.program.name, test.name)
                copy.seconds = test.seconds
                copies.append(copy)
            if check["file"].startswith("tests/"):
                copies += [Script(folder, "replayed.sh"), Script(folder, "pruned.sh")]
            return judge(check["key"], copies, seconds, prepare=prepare)
        finally:
            path.write_text(before)
            with self.lock:
                self.free.append(tree)


def check_jobs(checks, tests, deep, explained, seconds, scratch):
    copies = Copies(scratch, min(JOBS, len(checks)))

    def near(check):
        """First those that come by atomics of the same file, then the others; quick ones first."""
        if check["file"].startswith("tests/"):
            return [test for test in tests if test.program.name in ABOUT_EXPLORER]
        return sorted((test for test in tests if test.sites), key=lambda test: (
            not any(site[0] == check["file"] for site in test.sites), test.seconds))

    def job(check):
        result = copies.judge(check, near(check), seconds)
        if result.verdict == "survives" and check["key"] not in explained:
            more = [test for test in deep() if any(site[0] == check["file"] for site in test.sites)]
            result = copies.judge(check, more, 4 * seconds) if more else result
        return result

    return [lambda check=check: job(check) for check in checks]


# --- survivors ---


def read_survivors():
    """survivors.txt: a key at the beginning of a line, its explanation indented below."""
    survivors, key = {}, None
    for number, line in enumerate((HERE / "survivors.txt").read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            if key is None:
                sys.exit(f"survivors.txt:{number}: explains nothing")
            survivors[key].append(line.strip())
            continue
        key = line.strip()
        if key in survivors:
            sys.exit(f"survivors.txt:{number}: twice: {key}")
        survivors[key] = []
    for key, lines in survivors.items():
        if not lines or not KINDS.match(lines[0]):
            sys.exit(f"survivors.txt: no explanation of a known kind: {key}")
    return survivors


def conclude(results, complete, began):
    """The table, and what is wrong with it."""
    survivors = read_survivors()
    results = sorted(results, key=lambda result: result.key)
    table, wrong = [], []
    for result in results:
        verdict = result.verdict
        if verdict == "survives":
            verdict = "explained" if result.key in survivors else "SURVIVES"
        elif result.key in survivors:
            verdict = "STALE"
        elif verdict == "invalid":
            verdict = "INVALID"
        table.append(f"{verdict:10} {result.key}\n           {result.detail}")
        if verdict.isupper():
            wrong.append(table[-1])
    met = {result.key for result in results}
    if complete:
        wrong += [f"STALE      {key}\n           there is no such mutation"
                  for key in survivors if key not in met]
    (BUILD / "mutate.txt").write_text("\n".join(table) + "\n")
    if wrong:
        say("\n" + "\n".join(wrong))
    noticed = sum(result.verdict == "noticed" for result in results)
    explained = sum(result.verdict == "survives" and result.key in survivors for result in results)
    say(f"\nmutate: {len(results)} mutations, {noticed} noticed, {explained} survive and are "
        f"explained, {len(wrong)} wrong; {time.monotonic() - began:.0f} s; "
        f"all in {BUILD / 'mutate.txt'}")
    return 1 if wrong else 0


def structure(folder):
    """What can be told without a run."""
    sites = sites_of(programs_of(folder, ""))
    orders = [mutation[0] for mutation in order_mutations(sites)]
    unseen = unseen_orderings(sites)
    checks = [check["key"] for check in read_checks("")]
    survivors = read_survivors()
    keys = orders + unseen + checks
    wrong = [f"survivors.txt: there is no such mutation: {key}" for key in survivors if key not in keys]
    wrong += [f"mutations.txt: twice: {key}" for key in sorted(set(checks)) if checks.count(key) > 1]
    wrong += [f"not explained in survivors.txt: {key}" for key in unseen if key not in survivors]
    if not orders:
        wrong.append(f"no orderings in {folder}")
    for line in wrong:
        say(f"mutate.py: {line}")
    say(f"mutate: {len(orders)} orderings, {len(checks)} checks, {len(survivors)} explanations, "
        f"{len(wrong)} wrong")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description="Does a model test notice what is broken?")
    parser.add_argument("--only", default="")
    parser.add_argument("--orders", action="store_true")
    parser.add_argument("--checks", action="store_true")
    parser.add_argument("--unexplained", action="store_true")
    parser.add_argument("--programs", default="")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--structure", type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    both = options.orders == options.checks
    began = time.monotonic()

    if options.structure:
        return structure(options.structure.resolve())
    errors = build(ROOT, BUILD)
    if errors:
        sys.exit("mutate.py: the programs do not build:\n" + "\n".join(errors))
    programs = programs_of(BUILD / "release/tests/model", options.programs)
    sites = sites_of(programs) if both or options.orders else set()
    orders = [mutation for mutation in order_mutations(sites) if re.search(options.only, mutation[0])]
    unseen = [key for key in unseen_orderings(sites) if re.search(options.only, key)] \
        if sites and not options.programs else []
    checks = read_checks(options.only) if both or options.checks else []
    explained = read_survivors()
    if options.unexplained:
        orders = [mutation for mutation in orders if mutation[0] not in explained]
        unseen = [key for key in unseen if key not in explained]
        checks = [check for check in checks if check["key"] not in explained]
    if options.list:
        for key in [mutation[0] for mutation in orders] + unseen + [check["key"] for check in checks]:
            say(key)
        return 0
    if not orders and not unseen and not checks:
        sys.exit("mutate.py: nothing to do")
    tests = find_tests(programs)
    found, finding = [], threading.Lock()

    def deep():
        """The deep tests, found when something survives the quick ones."""
        with finding:
            if not found:
                found.append(find_tests(programs, deep=True))
        return found[0]

    say(f"{len(tests)} tests, {len(orders)} orderings, {len(checks)} checks; {JOBS} at a time")

    def order_job(key, site, argument):
        result = judge(key, [test for test in tests if site in test.sites], options.seconds, argument)
        if result.verdict == "survives" and key not in explained:
            more = [test for test in deep() + tests if site in test.sites]
            result = judge(key, more, 4 * options.seconds, argument,
                           WEFT_MODEL_LEAST_STALE="1") if more else result
        return result

    results = [Result(key, "survives", "no program has it") for key in unseen]
    results += run_all([lambda mutation=mutation: order_job(*mutation) for mutation in orders])
    if checks:
        with tempfile.TemporaryDirectory(prefix="weft-mutate-") as scratch:
            results += run_all(check_jobs(checks, tests, deep, explained, options.seconds,
                                          pathlib.Path(scratch)))
    complete = both and not (options.only or options.programs or options.unexplained)
    return conclude(results, complete, began)


if __name__ == "__main__":
    sys.exit(main())
