# SPDX-License-Identifier: MIT
"""weft-gdb.py - the tasks of a program that uses weft, in gdb: which there are, and where each waits.

    (gdb) source weft-gdb.py
    (gdb) weft tasks [TEXT]      every task that has not ended; only those whose line contains TEXT
    (gdb) weft bt TASK...|all    the backtrace of fibers that wait
    (gdb) weft select TASK       look around in one: bt, frame, up, info locals; then weft deselect
    (gdb) weft runtime           runtimes, their workers and queues

IDEA     Everything is read from memory, nothing is called, so a core file is as good as a process that
         has stopped. Where things are says weft_debug_table, which is part of the library
         (src/sched/debugger.h): no type information of the library is needed.
FIBERS   A parked fiber is a stack pointer and a frame with what a called function must preserve. gdb
         has no way to show a stack that no thread runs on, so an unwinder claims that the
         innermost frame of the selected thread was called from there. What gdb shows above
         that frame is the fiber. No register is written.
LIMITS   x86-64, aarch64 and riscv64, not builds with the ucontext switch. Names of functions are
         those that gdb knows: lines and variables need -g in the code in question.
"""

import re
import struct

import gdb
import gdb.unwinder

MAGIC = b"weft-1"

# Of each processor: what gdb calls the registers of a continued frame, and where the frame keeps the
# others that a call preserves. A frame that was parked by the inline switch of x86-64 has stale values there;
# the function that holds it has saved what its caller needs.
PROCESSORS = {
    "i386:x86-64": ("rip", "rsp", "rbp",
                    {"r12": 8, "r13": 16, "r14": 24, "r15": 32, "rbx": 40}),
    "aarch64": ("pc", "sp", "x29", {f"x{n}": 8 * (n - 19) for n in range(19, 29)}),
    "riscv:rv64": ("pc", "sp", "fp", {f"s{n}": 8 + 8 * n for n in range(1, 12)}),
}


# The library's own source, as its type information names it.
LIBRARY_FILES = re.compile(r"(^|/)src/(base|fiber|time|task|io|sched|net)/\w+\.[ch]$")


class WeftError(gdb.GdbError):
    """What is told to the user as one line."""


# --- memory ------------------------------------------------------------------------------------


def read(address, size):
    """Bytes of the program; gdb.MemoryError where there are none."""
    return gdb.selected_inferior().read_memory(address, size).tobytes()


def read_u64(address):
    return struct.unpack("<Q", read(address, 8))[0]


def read_u32(address):
    return struct.unpack("<I", read(address, 4))[0]


def read_text(address, size=256):
    """A string of at most so many bytes, or "" where there is none."""
    text = b""
    try:
        while address and len(text) < size and not text.endswith(b"\0"):
            text += read(address + len(text), 1)
    except gdb.MemoryError:
        pass
    return text.rstrip(b"\0").decode("utf-8", "replace")


def symbol_at(address):
    """The function at an address, with its place in the source where that is known."""
    if not address:
        return "?"
    match = re.search(r"<([^>+]+)", gdb.execute(f"output/a {address}", to_string=True))
    name = match.group(1) if match else hex(address)
    where = gdb.find_pc_line(address)
    return f"{name} ({where.symtab.filename}:{where.line})" if where.symtab else name


class Table:
    """weft_debug_table: offsets and values by name, and where the walk over all tasks begins."""

    def __init__(self):
        self.stacks = None
        try:
            at = int(gdb.parse_and_eval("(unsigned long)&weft_debug_table"))
            magic, count, entries, self.slab, self.fiber_kind, self.async_kind = struct.unpack(
                "<8sQQQQQ", read(at, 48))
        except gdb.MemoryError as error:
            raise WeftError(f"weft: its table cannot be read: {error}") from error
        except gdb.error as error:
            raise WeftError("weft: this program has no weft in it, or has not loaded it yet "
                            f"({error})") from error
        if magic.rstrip(b"\0") != MAGIC:
            raise WeftError("weft: the program has a version of weft that this script does not know")
        self.values = {}
        for i in range(count):
            name, value = struct.unpack("<24sQ", read(entries + 32 * i, 32))
            self.values[name.rstrip(b"\0").decode()] = value
        self.library = gdb.solib_name(at)

    def threads(self):
        """Each thread with its stack pointer."""
        if self.stacks is None:
            self.stacks = thread_stacks()
        return self.stacks

    def owns(self, frame):
        """Is that a function of the library?"""
        name, symtab = frame.name() or "", frame.find_sal().symtab
        if name.startswith(("weft_", "wf_")):
            return True
        if self.library and gdb.solib_name(frame.pc()) == self.library:
            return True
        return bool(symtab and LIBRARY_FILES.search(symtab.filename))

    def __getitem__(self, name):
        return self.values[name]


# --- tasks --------------------------------------------------------------------------------------


class Task:
    """A header, as it is now."""

    def __init__(self, table, at):
        self.table = table
        self.at = at
        self.word = self.u64("state")

    def u64(self, field):
        return read_u64(self.at + self.table["task." + field])

    def u32(self, field):
        return read_u32(self.at + self.table["task." + field])

    def has(self, bit):
        return bool(self.word & self.table["state." + bit])

    def alive(self):
        return (self.word >= self.table["state.reference"] and not self.has("complete")
                and self.kind() != "")

    def kind(self):
        kind = self.u64("wakeable")
        return {self.table.fiber_kind: "fiber", self.table.async_kind: "stackless"}.get(kind, "")

    def begun(self):
        """A fiber that has its stack."""
        return self.kind() == "fiber" and bool(self.u32("flags") & self.table["flag.begun"])

    def pinned(self):
        """The number of the worker that alone polls it; None: any may."""
        flags = self.u32("flags")
        if not flags & self.table["flag.pinned"]:
            return None
        return (flags >> self.table["flag.seat_shift"]) - 1

    def state(self):
        if self.thread() is not None:
            name = "running"
        elif self.has("running"):
            # Queued by a yield, but for the moments of a switch.
            yielded = self.u32("flags") & self.table["flag.yielded"]
            name = "ready" if yielded or self.begun() else "running"
        else:
            name = "ready" if self.has("notified") else "waiting"
        return name + ("*" if self.has("cancelled") else "")

    def id(self):
        return self.u64("id")

    def name(self):
        extra = self.u64("extra")
        if not extra:
            return ""
        return read_text(extra + self.table["extra.name"], self.table["extra.name_size"])

    def site(self):
        return read_text(self.u64("site")) or "?"

    def runtime(self):
        return self.u64("sched") - self.table["runtime.sched"]

    def stack(self):
        """Bounds of its stack."""
        stack = read_u64(self.u64("fiber") + self.table["fiber.stack"])
        low = read_u64(stack + self.table["stack.low"])
        return low, low + read_u64(stack + self.table["stack.size"])

    def sp(self):
        return read_u64(self.u64("fiber") + self.table["fiber.sp"])

    def thread(self):
        """The thread that stands on its stack, if any."""
        if not self.begun() or not self.has("running"):
            return None
        low, high = self.stack()
        for thread, sp in self.table.threads():
            if low <= sp < high:
                return thread
        return None

    def where(self):
        """In one line, where it waits."""
        if self.kind() == "stackless":
            poll = read_u64(self.u64("async") + self.table["async_type.poll"])
            line = read_u32(self.at + self.table["task.size"] + self.table["async.line"])
            return symbol_at(poll) + (f", at its line {line}" if line else ", at its beginning")
        if not self.begun():
            return "not begun: " + symbol_at(self.u64("fn"))
        thread = self.thread()
        if thread is not None:
            return f"on thread {thread.num}"
        if not self.table["frame.size"]:
            return "in a wait; the stacks of ucontext are not known"
        with Fiber(self) as fiber:
            return fiber.summary()


def tasks(table):
    """Every task that has not ended: a walk over the slots that were ever handed out."""
    chunks, classes, link, _, class_index, fresh, first = struct.unpack(
        "<QQIIIII", read(table.slab, 36))
    node = read_u64(chunks)
    seen = set()
    while node and node != chunks and node not in seen:
        seen.add(node)
        chunk = node - link
        size = read_u32(classes + 4 * read_u32(chunk + class_index))
        for i in range(read_u32(chunk + fresh)):
            task = Task(table, chunk + first + i * size)
            if task.alive():
                yield task
        node = read_u64(node)
        if not node:
            gdb.write("weft: the tasks' memory is not all there. gdb's own gcore gives up at the "
                      "guard of a stack; let the kernel write the core.\n", gdb.STDERR)


def find_tasks(table, words):
    """Those that an argument names: by number, by the address of the header, or all."""
    every = list(tasks(table))
    if words == ["all"]:
        return every
    found = []
    for word in words:
        value = int(gdb.parse_and_eval(word))
        match = [t for t in every if value in (t.id(), t.at)]
        if not match:
            raise WeftError(f"weft: no task {word} is alive")
        found += match
    return found


def thread_stacks():
    """Each thread with its stack pointer."""
    chosen, frame = gdb.selected_thread(), selected_frame()
    found = []
    try:
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            found.append((thread, int(gdb.newest_frame().read_register("sp")) & (2 ** 64 - 1)))
    finally:
        if chosen is not None:
            chosen.switch()
        if frame is not None and frame.is_valid():
            frame.select()
    return found


def selected_frame():
    try:
        return gdb.selected_frame()
    except gdb.error:
        return None


# --- the stacks of fibers -----------------------------------------------------------------------


class FrameId:
    """What names a frame for gdb: lower than all frames of the fiber, so that these are its callers."""

    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class ParkedUnwinder(gdb.unwinder.Unwinder):
    """Claims that the innermost frame of a thread was called by the parked fiber."""

    def __init__(self):
        super().__init__("weft-parked")
        self.enabled = False
        self.innermost = None
        self.parked_at = 0
        self.registers = {}

    def __call__(self, pending):
        here = (int(pending.read_register("sp")), int(pending.read_register("pc")))
        if here != self.innermost:
            return None
        info = pending.create_unwind_info(FrameId(gdb.Value(self.parked_at), gdb.Value(here[1])))
        for name, value in self.registers.items():
            info.add_saved_register(name, gdb.Value(value).cast(pending.read_register(name).type))
        return info


class Fiber:
    """The stack of a parked fiber, shown above the selected thread's innermost frame."""

    def __init__(self, task):
        self.task = task

    def __enter__(self):
        table, sp = self.task.table, self.task.sp()
        size = table["frame.size"]
        newest = gdb.newest_frame()
        machine = newest.architecture().name()
        if not size or machine not in PROCESSORS:
            raise WeftError("weft: nothing is known about the stacks of this build")
        pc_name, sp_name, fp_name, others = PROCESSORS[machine]
        self.sp = sp + size
        # Without the signature of a return address.
        pc = read_u64(sp + table["frame.pc"]) & (2 ** 48 - 1)
        UNWINDER.innermost = (int(newest.read_register("sp")), int(newest.read_register("pc")))
        UNWINDER.parked_at = sp
        UNWINDER.registers = {pc_name: pc, sp_name: self.sp,
                              fp_name: read_u64(sp + table["frame.fp"])}
        for name, offset in others.items():
            UNWINDER.registers[name] = read_u64(sp + offset)
        UNWINDER.enabled = True
        gdb.invalidate_cached_frames()
        return self

    def __exit__(self, *_):
        forget()

    def frames(self):
        """Innermost first."""
        frame = gdb.newest_frame()
        while frame is not None and int(frame.read_register("sp")) != self.sp:
            frame = frame.older()
        while frame is not None:
            yield frame
            frame = frame.older()

    def first_level(self):
        """gdb's number of the fiber's innermost frame."""
        frame = next(self.frames(), None)
        if frame is None:
            raise WeftError("weft: the stack of this fiber cannot be read")
        return frame.level() if hasattr(frame, "level") else 1

    def summary(self):
        """The library's function that waits, and the user's that called it."""
        frames = list(self.frames())
        users = [i for i, f in enumerate(frames) if not self.task.table.owns(f)]
        # Linked statically and without types, the library's static functions look like the user's.
        known = [i for i in users if frames[i].find_sal().symtab]
        if not users:
            return "?"
        at = (known or users)[0]
        frame = frames[at]
        sal = frame.find_sal()
        line = f" at {sal.symtab.filename}:{sal.line}" if sal.symtab else ""
        call = frames[at - 1].name() or "?" if at else "?"
        return f"{call}, in {frame.name() or '?'}{line}"

    def backtrace(self, options):
        """As gdb prints it, from number 0."""
        first = self.first_level()
        lines, keep = [], False
        for line in gdb.execute("backtrace " + options, to_string=True).splitlines():
            match = re.match(r"#(\d+)(\s+)", line)
            if match:
                level = int(match.group(1)) - first
                keep = level >= 0
                line = f"#{level:<3d}" + line[match.end():]
            if keep:
                lines.append(line)
        return "\n".join(lines)


UNWINDER = ParkedUnwinder()
SELECTED = []


def forget(*_):
    """No fiber is shown any more."""
    SELECTED.clear()
    if UNWINDER.enabled:
        UNWINDER.enabled = False
        gdb.invalidate_cached_frames()


# --- commands -----------------------------------------------------------------------------------


class WeftCommand(gdb.Command):
    """Look at the tasks of a program that uses weft."""

    def __init__(self):
        super().__init__("weft", gdb.COMMAND_STACK, prefix=True)


class TasksCommand(gdb.Command):
    """weft tasks [TEXT] - every task that has not ended, and where it waits.
With TEXT only those whose line contains it. A * marks what was cancelled."""

    def __init__(self):
        super().__init__("weft tasks", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        del from_tty
        forget()
        table, shown, count = Table(), 0, 0
        gdb.write(f"{'task':>8}  {'state':<8}  {'kind':<9}  {'polls':>8}  where\n")
        for task in tasks(table):
            count += 1
            name, worker = task.name(), task.pinned()
            pinned = "" if worker is None else f", pinned to worker {worker}"
            line = (f"{task.id():>8}  {task.state():<8}  {task.kind():<9}  {task.u64('polls'):>8}  "
                    f"{task.where()}{pinned}  spawned at {task.site()}" + (f'  "{name}"' if name else ""))
            if argument in line:
                shown += 1
                gdb.write(line + "\n")
        gdb.write(f"{count} tasks" + (f", {shown} shown" if shown != count else "") + "\n")


class BacktraceCommand(gdb.Command):
    """weft bt TASK...|all [-OPTION...] - backtraces of fibers; options are those of backtrace."""

    def __init__(self):
        super().__init__("weft bt", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        del from_tty
        forget()
        words = gdb.string_to_argv(argument)
        options = " ".join(w for w in words if w.startswith("-"))
        words = [w for w in words if not w.startswith("-")]
        if not words:
            raise WeftError("weft bt: which task? A number from weft tasks, or all")
        for task in find_tasks(Table(), words):
            name = task.name()
            gdb.write(f"task {task.id()} ({task.state()}), spawned at {task.site()}"
                      + (f', "{name}"' if name else "") + ":\n")
            try:
                gdb.write(self.text(task, options) + "\n\n")
            except WeftError as error: # of one task: the others may be readable
                gdb.write(f"{error}\n\n")

    def text(self, task, options):
        if not task.begun():
            return task.where()
        thread = task.thread()
        if thread is None:
            with Fiber(task) as fiber:
                return fiber.backtrace(options)
        chosen = gdb.selected_thread()
        thread.switch()
        try:
            return (f"on thread {thread.num}:\n"
                    + gdb.execute("backtrace " + options, to_string=True).rstrip("\n"))
        finally:
            chosen.switch()


class SelectCommand(gdb.Command):
    """weft select TASK - show the stack of a fiber that waits, until weft deselect.
Its frames appear above those of the selected thread: up, frame, info locals work there."""

    def __init__(self):
        super().__init__("weft select", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        forget()
        found = find_tasks(Table(), gdb.string_to_argv(argument))
        if len(found) != 1 or not found[0].begun() or found[0].thread() is not None:
            raise WeftError("weft select: that is not one fiber that waits")
        fiber = Fiber(found[0]).__enter__()
        SELECTED.append(fiber)
        gdb.execute(f"frame {fiber.first_level()}", from_tty)


class DeselectCommand(gdb.Command):
    """weft deselect - show the stacks of threads again."""

    def __init__(self):
        super().__init__("weft deselect", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        del argument, from_tty
        forget()


class RuntimeCommand(gdb.Command):
    """weft runtime - the runtimes, their workers and what is queued.
A runtime is found by its tasks, or by the memory that its workers have for tasks."""

    def __init__(self):
        super().__init__("weft runtime", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        del argument, from_tty
        forget()
        table = Table()
        counts = {}
        for task in tasks(table):
            counts.setdefault(task.runtime(), []).append(task.state().rstrip("*"))
        if not counts:
            gdb.write("no task is alive\n")
        for at, states in counts.items():
            self.show(table, at, states)

    def show(self, t, at, states):
        def u32(field):
            return read_u32(at + t["runtime." + field])

        flavor = ("current-thread" if u32("flavor") == t["flavor.current_thread"]
                  else "multi-thread")
        phase = {t["phase.closing"]: ", closing", t["phase.stopped"]: ", stopped"}.get(
            u32("phase"), "")
        of_each = ", ".join(f"{states.count(s)} {s}" for s in ("running", "ready", "waiting"))
        gdb.write(f"runtime {at:#x}: {flavor}, {u32('workers')} workers{phase}\n"
                  f"  {len(states)} tasks: {of_each}\n"
                  f"  injection queue {read_u64(at + t['runtime.inject_len'])}, "
                  f"{read_u64(at + t['runtime.spawned_outside'])} spawned from outside\n")
        if u32("stuck") or u32("standins"):
            gdb.write(f"  workers stuck in a poll: {u32('stuck')}; "
                      f"threads that stand in: {u32('standins')}\n")
        seats = read_u64(at + t["runtime.seats"])
        for i in range(u32("workers")):
            self.show_seat(t, seats + i * t["seat.size"], f"seat {i}")
        standins = read_u64(at + t["runtime.standin"])
        for i in range(u32("standin_count")):
            self.show_seat(t, read_u64(standins + 8 * i) + t["standin.seat"], f"stand-in {i}")

    def show_seat(self, t, seat, name):
        def queue(name):
            at = seat + t["seat." + name]
            return max(0, read_u64(at + t["deque.tail"]) - read_u64(at + t["deque.head"]))

        def counter(name):
            return read_u64(seat + t["seat.counters"] + t["counter." + name])

        doing = "asleep" if counter("parked_at") else "awake"
        if read_u32(seat + t["seat.taken"]) == t["taken.relieved"]:
            doing = "stuck"
        gdb.write(f"  {name}: {doing}, {queue('ready')} ready, {queue('backlog')} new"
                  + (", LIFO slot full" if read_u64(seat + t["seat.lifo"]) else "")
                  + f"; {counter('spawned')} spawned, {counter('finished')} finished, "
                  f"{counter('polls')} polls, {counter('steals')} stolen, "
                  f"{counter('parks')} sleeps\n")


def register():
    gdb.unwinder.register_unwinder(None, UNWINDER, replace=True)
    for event in (gdb.events.cont, gdb.events.exited, gdb.events.inferior_call):
        event.connect(forget)
    for command in (WeftCommand, TasksCommand, BacktraceCommand, SelectCommand, DeselectCommand,
                    RuntimeCommand):
        command()


register()
