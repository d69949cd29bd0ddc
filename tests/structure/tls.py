#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
tls.py - no address that belongs to a thread is kept across a call that may switch, in machine code.

IDEA     A fiber may resume on another thread than it was suspended on. Whatever leads to thread-local
         memory - a thread pointer, the address of a thread-local, the address of errno, the
         struct that wf_thread_self returns - is then the old thread's. A compiler may keep such an
         address in a register or on the stack although the source asks for it twice, so the source
         cannot be trusted to show it. This reads what the compiler and the linker made.
HOW      objdump's disassembly of linked files (x86-64) is split into functions. Then

         1  Which functions may switch: those that hold the switch itself (wf_switch, and the
            instructions that wf_switch_inline lays in), those that call one that may, and those that
            call through a pointer, for it may be a user's function that awaits.
         2  Which instructions make an address of this thread: reads of %fs:0, calls to functions
            that the C library declares constant, calls to the library's own accessors, and calls to
            functions that return such an address.
         3  From there it is followed along every path, through registers and stack slots, into the
            functions that it is passed to. A call that may switch makes it stale. Any
            instruction that reads a stale one is a finding.

         Of the library it also claims that %fs and the constant functions occur in its accessors
         alone, that those are functions of their own, and that they call nothing that may switch.
CANARY   %fs:0x28, the stack protector's word, and %fs:0x30, the pointer guard, are equal in all
         threads of a process: reading them is harmless.
BLIND    What is stored anywhere but on the own stack, or loaded through the address, is not followed:
         that needs the source's meaning. A direct access to a thread-local (%fs:-4) has no address
         that could be kept, and is only forbidden in the library itself.
USE      tls.py [--library LIB.so] [FILE...] [--planted FILE...]
         FILE are programs or libraries that use LIB.so; those behind --planted are tests of this
         checker, in which each function bad_* must be found and each good_* must not.
"""
import argparse
import collections
import re
import subprocess
import sys

# The functions of the library in which a thread-local, or errno, may be touched: see WF_OPAQUE.
ACCESSORS = {
    "wf_thread_self": "src/task/current.c",
    "wf_thread_set_self": "src/task/current.c",
    "wf_thread_owner": "src/task/current.c",
    "wf_thread_lend": "src/task/current.c",
    "wf_thread_number": "src/task/current.c",
    "lock_ranks": "src/base/lock.c",
    "overflow_thread_self": "src/fiber/overflow.c",
    "sys_errno": "src/base/sys.c",
    "weft_errno_location": "src/base/errno.c",
}

# Those of them that return an address of the thread.
RETURNS_ADDRESS = {"wf_thread_self", "lock_ranks", "overflow_thread_self", "weft_errno_location"}

# What the C library declares constant (or what finds a thread-local), though it differs by thread.
CONSTANT = {
    "__errno_location", "__h_errno_location", "__res_state", "__tls_get_addr", "pthread_self",
    "thrd_current", "__ctype_b_loc", "__ctype_tolower_loc", "__ctype_toupper_loc",
    "__cxa_get_globals", "__cxa_get_globals_fast",
}

# Functions outside that call back, and so may switch.
CALL_BACK = {
    "qsort", "qsort_r", "bsearch", "lfind", "lsearch", "tsearch", "tdelete", "tfind", "twalk",
    "twalk_r", "tdestroy", "scandir", "ftw", "nftw", "pthread_once", "call_once",
    "swapcontext", "setcontext",
}

# They switch, and come back on the same thread, for they run on that thread's own stack.
NATIVE = {
    "wf_worker_run": "a worker's loop: the fiber comes back to the thread that continued it",
    "runtime_thread": "what a worker thread starts with",
    "standin_thread": "what a stand-in starts with",
    "standin_work": "a stand-in's turn of the same loop",
    "wf_drive": "a plain thread that drives a current-thread runtime",
    "wf_thread_call": "what it calls finds a plain thread, where nothing can await",
}

# They call through pointers, but only what may not await. Each is a function of its own in every build.
NEVER_SWITCH = {
    "wf_runtime_put": "as the last user it wakes joiners and drops states: neither may await",
    "spawn_init": "a key's inherit may not await, as weft_spawn does not; where destructors run, "
                  "nothing is spawned and the caller returns",
    "spawn_pin": "it chooses a worker",
    "spawn_hook": "hooks may call nothing that awaits",
}

# The library's uses of constant functions outside the accessors, by (function, constant function).
ALLOWED = {
    ("wf_thread_begin", "pthread_self"): "a thread of the library names itself before it works",
    ("runtime_thread", "pthread_self"): "the same, where that is laid in",
    ("standin_thread", "pthread_self"): "the same",
    ("monitor_thread", "pthread_self"): "the same; it has no task",
    ("pool_thread", "pthread_self"): "the same, for who joins it; what it runs cannot await",
}

ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
CALLER_SAVED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11") + tuple(
    f"xmm{i}" for i in range(32))
NO_RETURN = {
    "abort", "exit", "_exit", "_Exit", "quick_exit", "__stack_chk_fail", "__assert_fail",
    "__fortify_fail", "__chk_fail", "longjmp", "siglongjmp", "__longjmp_chk", "pthread_exit",
    "weft_panic", "_ck_assert_failed", "test_failed",
}
# Instructions that write no operand.
READ_ONLY = re.compile(r"^(cmp|test|bt[bwlq]?$|nop|ucomi|comi|prefetch|[lms]fence|ldmxcsr|fldcw|pause"
                       r"|endbr|ud2|hlt|v?ptest)")
# Instructions that set their last operand to something that is no address.
FRESH_VALUE = re.compile(r"^(set|cvt|v?cvt|popcnt|lzcnt|tzcnt|bsf|bsr|mov[sz][bw]|pmovmskb|movmsk"
                         r"|movabs|stmxcsr|fnstcw)")
MOVE = re.compile(r"^v?mov(?!s[bw]|z[bw]|msk)|^lea")
REGISTER = re.compile(r"%([a-z][a-z0-9]*)")
SUFFIX = re.compile(r"\.(part|isra|constprop|lto_priv|cold|llvm)(\.\d+)?")
COLD = re.compile(r"\.cold(\.\d+)?$")
LINE = re.compile(r"^\s*([0-9a-f]+):\t(.*)$")
HEAD = re.compile(r"^([0-9a-f]+) <(.+)>:$")
TARGET = re.compile(r"^([0-9a-f]+) <([^>]+)>")
MEMORY = re.compile(r"^\*?(?:%([cdefgs]s):)?([-+]?(?:0x)?[0-9a-f]+)?(?:\(([^)]*)\))?$")
PREFIXES = {"lock", "rep", "repz", "repnz", "notrack", "bnd", "data16", "cs", "ds", "es", "ss",
            "rex.W", "addr32", "xacquire", "xrelease"}


def register_names():
    """Each name of a register, to the name of all of it."""
    names = {}
    for letter in "abcd":
        for name in (f"{letter}l", f"{letter}h", f"{letter}x", f"e{letter}x", f"r{letter}x"):
            names[name] = f"r{letter}x"
    for stem in ("si", "di", "bp", "sp"):
        for name in (f"{stem}l", stem, f"e{stem}", f"r{stem}"):
            names[name] = f"r{stem}"
    for i in range(8, 16):
        for suffix in ("", "d", "w", "b"):
            names[f"r{i}{suffix}"] = f"r{i}"
    for i in range(32):
        for stem in ("xmm", "ymm", "zmm"):
            names[f"{stem}{i}"] = f"xmm{i}"
    return names


REGISTERS = register_names()

# An address of the thread: is it stale, who made it, what switched, is it unchanged since?
Taint = collections.namedtuple("Taint", "stale origin switch exact")


def stem(name):
    """The name in the source of a function that the compiler has split or copied."""
    return SUFFIX.sub("", name.split("@")[0])


class Instruction:
    """One line of the disassembly."""

    __slots__ = ("at", "text", "name", "operands", "target", "target_name", "next", "switch")

    def __init__(self, at, text):
        body, _, comment = text.partition("#")
        words = body.split()
        while len(words) > 1 and words[0] in PREFIXES:
            words = words[1:]
        self.at, self.text = at, body.strip()
        self.name = words[0] if words else "nop"
        rest = body.split(self.name, 1)[1].strip() if words else ""
        self.operands, self.target, self.target_name = [], None, None
        self.next, self.switch = None, False
        if self.is_branch():
            match = TARGET.match(rest)
            if match:
                self.target, self.target_name = int(match[1], 16), match[2]
            else:
                # Through the linker's table: as good as direct.
                match = re.search(r"<([^>+]+)@@?[A-Z]", comment) if "(%rip)" in rest else None
                self.target_name = match[1] + "@plt" if match else None
                self.operands = [rest]
        elif rest:
            self.operands = split_operands(rest)

    def is_branch(self):
        return self.name.startswith(("j", "call", "loop")) or self.name == "xbegin"

    def is_call(self):
        return self.name.startswith("call")

    def ends_path(self):
        return self.name.startswith(("ret", "jmp", "ud2", "hlt", "iret"))


def split_operands(text):
    """At the commas that are not within parentheses."""
    parts, depth, begin = [], 0, 0
    for i, c in enumerate(text):
        if c == "(":
            depth += 1
        elif c == ")":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[begin:i].strip())
            begin = i + 1
    parts.append(text[begin:].strip())
    return parts


class Function:
    """A function, with the parts that the compiler put elsewhere."""

    def __init__(self, name, at):
        self.name, self.at = name, at
        self.code = {}
        self.arguments = {}  # tainted on entry, by any caller
        self.returns = None  # taint of the result
        self.may_switch = None  # why, as text
        self.seen = {}

    def instructions(self):
        return self.code.values()


class Program:
    """All functions of one linked file."""

    def __init__(self, path):
        self.path = path
        self.functions, self.owner = {}, {}
        self.read(path)
        self.join_cold_parts()
        self.mark_switches()
        self.by_name = {f.name: f for f in self.functions.values()}

    def read(self, path):
        text = subprocess.run(["objdump", "-d", "-w", "--no-show-raw-insn", path], check=True,
                              capture_output=True, text=True).stdout
        function = last = None
        for line in text.splitlines():
            head = HEAD.match(line)
            if head:
                function = last = None
                if "@plt" not in head[2] and not head[2].startswith((".plt", "_init", "_fini")):
                    function = Function(head[2], int(head[1], 16))
                    self.functions[function.at] = function
                continue
            match = LINE.match(line) if function else None
            if not match:
                continue
            i = Instruction(int(match[1], 16), match[2])
            if last:
                last.next = i.at
            function.code[i.at] = i
            self.owner[i.at] = function
            last = i

    def join_cold_parts(self):
        """What was split off is entered by jumps and shares the frame: one function."""
        for cold in [f for f in self.functions.values() if COLD.search(f.name)]:
            name = COLD.sub("", cold.name)
            for hot in self.functions.values():
                if hot.name == name and any(i.target in cold.code for i in hot.instructions()):
                    hot.code.update(cold.code)
                    self.owner.update(dict.fromkeys(cold.code, hot))
                    del self.functions[cold.at]
                    break

    def mark_switches(self):
        """The instructions of wf_switch_inline end in a jump to where the other side was parked, right
        after the stack pointer was taken from there; control comes back behind the jump."""
        for f in self.functions.values():
            if stem(f.name) == "wf_switch":
                continue
            window = collections.deque(maxlen=4)
            for i in f.instructions():
                if i.name == "jmp" and i.operands == ["*%rcx"] and any(
                        w.name.startswith("lea") and w.operands[1:] == ["%rsp"]
                        and w.operands[0].endswith("(%rsi)") for w in window):
                    i.switch = True
                window.append(i)

    def callee(self, i):
        """Of a call, or of a jump that leaves the function: the Function, or a name, or None."""
        if i.target is not None and i.target in self.owner:
            return self.owner[i.target]
        if i.target_name is None:
            return None
        name = stem(i.target_name.replace("@plt", ""))
        return self.by_name.get(name, name) if i.target_name.endswith("@plt") else name

    def leaves(self, f, i):
        """Is it a call, or a jump that amounts to one?"""
        if i.is_call():
            return True
        if i.name != "jmp" or i.switch:
            return False
        if i.target is not None:
            return i.target not in f.code
        return not self.is_table_jump(f, i)

    @staticmethod
    def is_table_jump(f, i):
        """A switch statement: the jump's operand is scaled, or was just loaded by a scale."""
        if re.search(r",[48]\)$", i.operands[0]):
            return True
        before = [w for w in f.instructions() if w.at < i.at][-8:]
        return any(re.search(r"\(.*,%r..?,4\)", w.text) for w in before)


class Checker:
    """The three steps over one program."""

    def __init__(self, program, library, outside_switches):
        self.program, self.is_library = program, library
        self.outside = outside_switches
        self.findings, self.no_return = {}, set()
        self.find_no_return()
        self.find_switches()

    # --- 1: who may switch ---------------------------------------------------------------

    def name_of(self, callee):
        return stem(callee.name if isinstance(callee, Function) else callee)

    def find_no_return(self):
        changed = True
        while changed:
            changed = False
            for f in self.program.functions.values():
                if f.at in self.no_return or any(
                        i.name.startswith("ret") or i.switch
                        or (not i.is_call() and self.program.leaves(f, i)
                            and not self.call_ends(i)) for i in f.instructions()):
                    continue
                self.no_return.add(f.at)
                changed = True

    def call_ends(self, i):
        callee = self.program.callee(i)
        if isinstance(callee, Function):
            return callee.at in self.no_return
        return callee in NO_RETURN

    def call_switches(self, i):
        """Why this call may switch, or None."""
        callee = self.program.callee(i)
        if callee is None:
            return "a call through a pointer"
        name = self.name_of(callee)
        if name in NATIVE:
            return None
        if isinstance(callee, Function):
            return f"{name}, {callee.may_switch}" if callee.may_switch else None
        if name in CALL_BACK or name in self.outside:
            return name
        return None

    def find_switches(self):
        for f in self.program.functions.values():
            if stem(f.name) == "wf_switch":
                f.may_switch = "which is the switch"
            elif any(i.switch for i in f.instructions()) and stem(f.name) not in NATIVE:
                f.may_switch = "which holds the switch"
        changed = True
        while changed:
            changed = False
            for f in self.program.functions.values():
                if f.may_switch or stem(f.name) in NATIVE or stem(f.name) in NEVER_SWITCH:
                    continue
                for i in f.instructions():
                    if self.program.leaves(f, i) and self.call_switches(i):
                        why = self.call_switches(i)
                        f.may_switch = "which makes " + why if why.startswith("a ") else (
                            "which calls " + why.split(",")[0])
                        changed = True
                        break

    # --- 2: what makes an address of the thread ------------------------------------------------

    @staticmethod
    def thread_word(i):
        """The %fs operand of an instruction, but for the words that are equal in all threads."""
        for operand in i.operands:
            if "%fs:" in operand and operand.split("%fs:")[1] not in ("0x28", "0x30"):
                return operand
        return None

    def call_makes(self, i):
        """The taint of a call's result."""
        callee = self.program.callee(i)
        if callee is None:
            return None
        name = self.name_of(callee)
        if name in CONSTANT or name in RETURNS_ADDRESS or name == "wf_switch":
            return Taint(False, f"{name}() at {i.at:x}", "", True)
        if isinstance(callee, Function) and callee.returns:
            made = callee.returns
            return Taint(made.stale, f"{name}() at {i.at:x}", made.switch, True)
        return None

    def touches(self, f, i):
        """Rule of the library: nothing but the accessors touches the thread."""
        if self.thread_word(i):
            return self.thread_word(i)
        callee = self.program.callee(i) if i.is_branch() and self.program.leaves(f, i) else None
        if callee is not None and self.name_of(callee) in CONSTANT:
            return self.name_of(callee)
        return None

    # --- 3: where it goes ----------------------------------------------------------------

    def slot(self, state, operand):
        """The own stack's slot that an operand names, counted from the frame's begin, or None."""
        match = MEMORY.match(operand)
        if not match or match[1] or not match[3]:
            return None
        base = match[3].lstrip("%")
        if base not in ("rsp", "rbp") or state.get(("at", base)) is None:
            return None
        frame, offset = state[("at", base)]
        return ("slot", frame, offset + int(match[2] or "0", 0))

    def read(self, state, operand):
        """The taint of a source operand, and the locations that reading it reads."""
        if operand.startswith("$"):
            return None, []
        if operand.startswith("%") and "(" not in operand and ":" not in operand:
            r = REGISTERS.get(operand[1:])
            return state.get(r), [r]
        used = [REGISTERS.get(r) for r in REGISTER.findall(operand)]
        s = self.slot(state, operand)
        return (state.get(s), used + [s]) if s else (None, used)

    @staticmethod
    def merge(a, b):
        if a is None or b is None or a == b:
            return a or b
        worse = a if a.stale >= b.stale else b
        return worse._replace(exact=a.exact and b.exact and a.origin == b.origin)

    def join(self, old, new):
        """The state where paths meet; None if old has it all already."""
        if old is None:
            return dict(new)
        out, changed = dict(old), False
        for key in set(old) | set(new):
            if key[0] == "at":
                both = old.get(key) if old.get(key) == new.get(key) else None
            else:
                both = self.merge(old.get(key), new.get(key))
                if both and old.get(key) and both.stale == old[key].stale and (
                        both.exact == old[key].exact):
                    continue
            if both != old.get(key):
                out[key], changed = both, True
        return out if changed else None

    def report(self, f, i, taint, what):
        key = (f.at, i.at)
        self.findings.setdefault(key, (
            stem(f.name), f"{self.program.path}: {f.name}+0x{i.at - f.at:x}: {what} "
            f"`{i.text}`: made by {taint.origin}, kept across {taint.switch}"))

    def use(self, f, i, state, locations):
        for where in locations:
            taint = state.get(where)
            if taint and taint.stale:
                self.report(f, i, taint, "reads an address of the thread that was left:")

    def move_stack(self, state, i):
        """Follow the two registers that slots are named by."""
        sp = state.get(("at", "rsp"))
        operands = i.operands
        if i.name.startswith("push"):
            state[("at", "rsp")] = sp and (sp[0], sp[1] - 8)
        elif i.name.startswith("pop"):
            state[("at", "rsp")] = sp and (sp[0], sp[1] + 8)
            if operands == ["%rbp"]:
                state[("at", "rbp")] = None
        elif i.name.startswith("leave"):
            bp = state.get(("at", "rbp"))
            state[("at", "rsp")] = bp and (bp[0], bp[1] + 8)
            state[("at", "rbp")] = None
        elif operands and operands[-1] in ("%rsp", "%rbp") and not READ_ONLY.match(i.name):
            target = operands[-1][1:]
            here = state.get(("at", target))
            source = operands[0]
            if i.name.startswith(("sub", "add")) and source.startswith("$") and here:
                step = int(source[1:], 0)
                step -= 1 << 64 if step >> 63 else 0
                here = (here[0], here[1] + (step if i.name.startswith("add") else -step))
            elif i.name.startswith("mov") and source in ("%rsp", "%rbp"):
                here = state.get(("at", source[1:]))
            elif i.name.startswith("lea") and self.slot(state, source):
                here = self.slot(state, source)[1:]
            elif target == "rsp":
                # Aligned or made longer by an unknown amount: slots are named anew from here.
                here = (i.at, 0)
            else:
                here = None
            state[("at", target)] = here

    def store(self, state, operand, taint, wide=False):
        if operand.startswith("%") and "(" not in operand and ":" not in operand:
            r = REGISTERS.get(operand[1:])
            if r:
                state[r] = taint
            return
        s = self.slot(state, operand)
        if s:
            state[s] = taint
            if wide:
                state[s[:2] + (s[2] + 8,)] = taint

    def switch(self, state, why):
        for key, taint in state.items():
            if key[0] != "at" and taint and not taint.stale:
                state[key] = taint._replace(stale=True, switch=why)

    def step_call(self, f, i, state):
        callee = self.program.callee(i)
        if i.operands and i.target_name is None:
            self.use(f, i, state, self.read(state, i.operands[0])[1])
        if isinstance(callee, Function):
            self.pass_arguments(callee, state)
        made, why = self.call_makes(i), self.call_switches(i)
        for r in CALLER_SAVED:
            state[r] = None
        if why:
            self.switch(state, f"{why} ({i.at:x})")
        if made:
            state["rax"] = made

    def pass_arguments(self, callee, state):
        for r in ARGUMENTS:
            taint = state.get(r)
            if taint and not taint.stale and r not in callee.arguments:
                callee.arguments[r] = taint._replace(origin=f"{taint.origin}, passed in %{r}")
                self.again.add(callee)

    def step(self, f, i, state):
        """The state behind an instruction that neither calls nor jumps."""
        operands, name = i.operands, i.name
        if name.startswith(("stos", "movs", "cmps", "scas", "lods")) and any(
                "%es:" in o or "%ds:" in o for o in operands):
            self.use(f, i, state, ["rdi", "rsi"])
            return
        if not operands:
            if name.startswith("leave"):
                self.move_stack(state, i)
            return
        word = self.thread_word(i)
        zero = len(operands) == 2 and operands[0] == operands[1] and re.match(
            r"^(xor|sub|p?xor|v?pxor|xorp|psub)", name)
        if zero:
            self.store(state, operands[1], None)
            return
        taints, wide = [], bool(re.search(r"mov(up|ap|dq)", name))
        sources = operands[:-1] if MOVE.match(name) or FRESH_VALUE.match(name) else operands
        if name.startswith("pop"):
            sources = []
        for operand in sources:
            taint, used = self.read(state, operand)
            self.use(f, i, state, used)
            if name.startswith("lea"):
                taint = next((state[u] for u in used if state.get(u)), None)
                taint = taint and taint._replace(exact=False)
            taints.append(taint)
        # The address of the operand that is written is read, too.
        if "(" in operands[-1] and operands[-1] not in sources:
            self.use(f, i, state, [REGISTERS.get(r) for r in REGISTER.findall(operands[-1])])
        self.move_stack(state, i)
        if READ_ONLY.match(name):
            return
        if name.startswith("push"):
            at = state.get(("at", "rsp"))
            if at:
                state[("slot",) + at] = taints[0]
            return
        if name.startswith("pop"):
            sp = state.get(("at", "rsp"))
            self.store(state, operands[0], state.get(("slot", sp[0], sp[1] - 8)) if sp else None)
            return
        result = None
        for taint in taints:
            result = self.merge(result, taint)
        if result and not MOVE.match(name):
            result = result._replace(exact=False)
        if FRESH_VALUE.match(name):
            result = None
        if word and re.match(r"^%fs:(0x0)?$", word) and name.startswith(("mov", "add")):
            result = Taint(False, f"the thread pointer at {i.at:x}", "", False)
        if name.startswith("xchg") and len(operands) == 2:
            first, second = (self.read(state, o)[0] for o in operands)
            self.store(state, operands[0], second)
            self.store(state, operands[1], first)
            return
        if name.startswith(("mul", "div", "idiv", "imul")) and len(operands) == 1:
            state["rax"] = state["rdx"] = None
            return
        self.store(state, operands[-1], result, wide)

    def refine(self, f, i, before, state, taken):
        """Behind a branch on "is it NULL?": a NULL is nobody's address."""
        if before is None or i.name not in ("je", "jz", "jne", "jnz"):
            return state
        operands = before.operands
        if before.name.startswith("test") and len(set(operands)) == 1:
            tested = operands[0]
        elif before.name.startswith("cmp") and operands[0] == "$0x0":
            tested = operands[1]
        else:
            return state
        taint, _ = self.read(state, tested)
        if (i.name in ("je", "jz")) != taken or not taint or not taint.exact:
            return state
        state = dict(state)
        for key, other in state.items():
            if key[0] != "at" and other and other.exact and (
                    other.origin, other.stale) == (taint.origin, taint.stale):
                state[key] = None
        return state

    def successors(self, f, i, before, state):
        if i.switch:
            return [(i.next, state)]
        if i.name == "jmp" and i.target is None and not self.program.leaves(f, i):
            return [(at, state) for at in f.code]
        out = []
        if i.is_branch() and not i.is_call() and i.target in f.code:
            out.append((i.target, self.refine(f, i, before, state, True)))
        if not i.ends_path() and i.next in f.code and not (i.is_call() and self.call_ends(i)):
            out.append((i.next, self.refine(f, i, before, state, False)))
        return out

    def returned(self, f, state):
        taint = state.get("rax")
        if not taint:
            return
        merged = self.merge(f.returns, taint)
        if f.returns is None or merged.stale != f.returns.stale:
            f.returns = merged
            self.again_all = True

    def analyse(self, f):
        start = {("at", "rsp"): (0, 0)}
        start.update(f.arguments)
        states, before = {f.at: start}, {}
        for i in f.instructions():
            if i.next is not None:
                before[i.next] = i
        work = [f.at]
        while work:
            at = work.pop()
            i, state = f.code[at], dict(states[at])
            if i.switch:
                self.use(f, i, state, ["rcx"])
                for r in CALLER_SAVED:
                    state[r] = None
                self.switch(state, f"the switch itself ({at:x})")
                state["rax"] = Taint(False, f"the switch at {at:x}", "", False)
            elif i.is_branch() and self.program.leaves(f, i):
                self.step_call(f, i, state)
            elif not i.is_branch():
                self.step(f, i, state)
            if i.name.startswith("ret") or (not i.is_call() and i.is_branch()
                                            and self.program.leaves(f, i)):
                self.returned(f, state)
            for to, then in self.successors(f, i, before.get(at), state):
                joined = self.join(states.get(to), then)
                if joined is not None:
                    states[to] = joined
                    work.append(to)

    def interesting(self, f):
        return f.arguments or any(
            self.thread_word(i) or i.switch
            or (i.is_branch() and self.program.leaves(f, i) and self.call_makes(i))
            for i in f.instructions())

    def check_flow(self):
        skip = set(NATIVE) | {"wf_switch"}
        self.again_all = True
        self.again = set()
        while self.again_all or self.again:
            todo = self.again
            if self.again_all:
                todo = {f for f in self.program.functions.values() if self.interesting(f)}
            self.again_all, self.again = False, set()
            for f in sorted(todo, key=lambda f: f.at):
                if stem(f.name) not in skip:
                    self.analyse(f)
        self.functions = sum(1 for f in self.program.functions.values() if self.interesting(f))

    def check_homes(self):
        """The accessors and nothing else touch the thread."""
        homes = set()
        for f in self.program.functions.values():
            name = stem(f.name)
            for i in f.instructions():
                touched = self.touches(f, i)
                if not touched or (name, touched) in ALLOWED:
                    continue
                if name in ACCESSORS:
                    homes.add(name)
                else:
                    self.findings[(f.at, i.at)] = (
                        name, f"{self.program.path}: {f.name}+0x{i.at - f.at:x}: touches the thread "
                        f"({touched}) outside the accessors: `{i.text}`")
            if name in ACCESSORS and f.may_switch:
                self.findings[(f.at, 0)] = (
                    name, f"{self.program.path}: the accessor {f.name} may switch, {f.may_switch}")
        for name in {"wf_thread_self", "weft_errno_location"} - homes:
            self.findings[(0, name)] = (
                name, f"{self.program.path}: {name} is no function of its own: where is it?")
        return homes


def check_file(path, library, outside):
    checker = Checker(Program(path), library, outside)
    checker.check_flow()
    if library:
        checker.check_homes()
    return checker


def exported_switches(checker):
    """The library's public functions that may switch, for those who call it."""
    return {stem(f.name) for f in checker.program.functions.values()
            if f.name.startswith("weft_") and f.may_switch}


def check_planted(checker):
    """Each bad_* is found, and no good_*. Returns the number of mistakes."""
    found = {name for name, _ in checker.findings.values()}
    planted = {stem(f.name) for f in checker.program.functions.values()}
    missed = sorted(n for n in planted if n.startswith("bad_") and n not in found)
    wrong = sorted(n for n in found if n.startswith("good_"))
    for name in missed:
        print(f"{checker.program.path}: {name} was not found")
    for name in wrong:
        print(next(text for n, text in checker.findings.values() if n == name))
    bad = sum(1 for n in planted if n.startswith("bad_"))
    good = sum(1 for n in planted if n.startswith("good_"))
    print(f"{checker.program.path}: {bad - len(missed)} of {bad} planted mistakes found, {len(wrong)} "
          f"objections to {good} that are none")
    return len(missed) + len(wrong) + (bad == 0)


def main():
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--library")
    parser.add_argument("--planted", nargs="*", default=[])
    parser.add_argument("--switching", action="store_true", help="list who may switch, and why")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    outside, wrong = set(), 0

    if options.library:
        checker = check_file(options.library, True, outside)
        outside = exported_switches(checker)
        if options.switching:
            for f in checker.program.functions.values():
                if f.may_switch:
                    print(f"{f.name}, {f.may_switch}")
        wrong += show(checker)
        if "weft_yield" not in outside or "weft_read" not in outside:
            print(f"{options.library}: the switch was not recognised: weft_yield seems not to wait")
            wrong += 1
    for path in options.files:
        wrong += show(check_file(path, False, outside))
    for path in options.planted:
        wrong += check_planted(check_file(path, False, outside))
    return 1 if wrong else 0


def show(checker):
    for _, text in checker.findings.values():
        print(text)
    total = len(checker.program.functions)
    switching = sum(1 for f in checker.program.functions.values() if f.may_switch)
    print(f"{checker.program.path}: {total} functions, {switching} may switch, {checker.functions} "
          f"with an address of the thread: {len(checker.findings)} findings")
    return len(checker.findings)


if __name__ == "__main__":
    sys.exit(main())
