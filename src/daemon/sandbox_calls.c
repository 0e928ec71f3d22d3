/* daemon/sandbox_calls.c - the filter of system calls: table, program, and what a refusal says */
#include "daemon/sandbox_internal.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#define CALL_NUMBERS_MAX 1024
#define PROGRAM_MAX 1024
#define VALUES_MAX 6

/* Families and the like by number: the network's own headers belong to ev/. */
#define FAMILY_UNIX 1
#define FAMILY_INET 2
#define FAMILY_INET6 10
#define FAMILY_NETLINK 16

/* ---- the table ------------------------------------------------------------------------------ */

enum call_test { TEST_NOT_EXECUTABLE, TEST_FAMILY, TEST_THREAD, TEST_OWN_PROCESS, TEST_PRCTL, TEST_IOCTL };

struct tested_call {
    uint32_t number;
    unsigned argument;
    enum call_test test;
};

static const struct tested_call tested_calls[] = {
#define CALLS_WITH_A_TEST
#define CALL_IF(name, argument, test) { __NR_##name, argument, test },
#include "daemon/sandbox_calls.h"
#undef CALL_IF
#undef CALLS_WITH_A_TEST
};

static const uint32_t plain_calls[] = {
#define CALLS_ALWAYS
#define CALL(name) __NR_##name,
#include "daemon/sandbox_calls.h"
#undef CALL
#undef CALLS_ALWAYS
};

static const struct call_name {
    long number;
    const char *name;
} refused_names[] = {
#define CALLS_REFUSED
#define CALL(name) { __NR_##name, #name },
#include "daemon/sandbox_calls.h"
#undef CALL
#undef CALLS_REFUSED
};

/* ---- the program ------------------------------------------------------------------------------
 *
 * struct seccomp_data: number, architecture, instruction pointer, six arguments of 64 bits. The low half of
 * an argument is looked at; the kernel ignores the rest of those that are tested.
 */
#ifdef ARCHITECTURE
struct program {
    struct sock_filter code[PROGRAM_MAX];
    unsigned short len;
};

static void put(struct program *p, uint16_t code, uint8_t yes, uint8_t no, uint32_t k)
{
    must(p->len < PROGRAM_MAX);
    p->code[p->len++] = (struct sock_filter) { code, yes, no, k };
}

static void put_load(struct program *p, size_t offset)
{
    put(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void put_return(struct program *p, uint32_t action)
{
    put(p, BPF_RET | BPF_K, 0, 0, action);
}

/* Passes if the loaded word is one of the values. */
static void put_one_of(struct program *p, const uint32_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, values[i]);
        put_return(p, SECCOMP_RET_ALLOW);
    }
    put_return(p, SECCOMP_RET_TRAP);
}

/* Passes if the bits of the loaded word that `mask` names are `value`. */
static void put_masked(struct program *p, uint32_t mask, uint32_t value)
{
    put(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
    put_one_of(p, &value, 1);
}

static void put_test(struct program *p, enum call_test test)
{
    static const uint32_t families[] = { FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, FAMILY_NETLINK };
    static const uint32_t prctls[] = { PR_SET_NAME, PR_GET_NAME, PR_GET_NO_NEW_PRIVS, PR_SET_VMA,
                                       PR_GET_SECCOMP };
    static const uint32_t ioctls[] = { TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO };
    uint32_t own[] = { 0, (uint32_t)getpid() };

    switch (test) {
    case TEST_NOT_EXECUTABLE:
        put_masked(p, SANDBOX_SANITIZED_OR(0, PROT_EXEC), 0);
        break;
    case TEST_FAMILY:
        put_one_of(p, families, COUNT_OF(families));
        break;
    case TEST_THREAD:
        put_masked(p, SANDBOX_SANITIZED_OR(CLONE_VM, CLONE_VM | CLONE_THREAD),
                   SANDBOX_SANITIZED_OR(CLONE_VM, CLONE_VM | CLONE_THREAD));
        break;
    case TEST_OWN_PROCESS:
        put_one_of(p, own, COUNT_OF(own));
        break;
    case TEST_PRCTL:
        if (SANDBOX_SANITIZED_OR(true, false))
            put_masked(p, 0, 0);
        else
            put_one_of(p, prctls, COUNT_OF(prctls));
        break;
    case TEST_IOCTL:
        put_one_of(p, ioctls, COUNT_OF(ioctls));
        break;
    }
}

static void put_tested(struct program *p, const struct tested_call *c)
{
    unsigned short jump = p->len;

    put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, c->number);
    put_load(p, offsetof(struct seccomp_data, args) + 8 * c->argument);
    put_test(p, c->test);
    p->code[jump].jf = (uint8_t)(p->len - jump - 1);
}

static void write_program(struct program *p)
{
    put_load(p, offsetof(struct seccomp_data, arch));
    put(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCHITECTURE);
    put_return(p, SECCOMP_RET_KILL_PROCESS); /* numbers of another architecture mean other calls */
    put_load(p, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < COUNT_OF(tested_calls); i++)
        put_tested(p, &tested_calls[i]);
    for (size_t i = 0; i < COUNT_OF(plain_calls); i++) {
        put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, plain_calls[i]);
        put_return(p, SECCOMP_RET_ALLOW);
    }
    /* Its flags are in memory, where no filter can look: libc goes back to clone. */
    put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, __NR_clone3);
    put_return(p, SECCOMP_RET_ERRNO | ENOSYS);
    put_return(p, SECCOMP_RET_TRAP);
}

/* ---- a refusal ----------------------------------------------------------------------------------
 *
 * The kernel turns the call into a signal; the handler says once which call it was and lets it fail.
 */
static atomic_bool refused_before[CALL_NUMBERS_MAX];

static void say_refused(long number)
{
    char line[128] = "sandbox: refused system call ";
    size_t len = strlen(line);
    char digits[24];
    size_t n = 0;
    ssize_t ignored;

    for (size_t i = 0; i < COUNT_OF(refused_names); i++)
        if (refused_names[i].number == number) {
            memcpy(line + len, refused_names[i].name, strlen(refused_names[i].name));
            len += strlen(refused_names[i].name);
            line[len++] = ' ';
        }
    for (long rest = number; n == 0 || rest; rest /= 10)
        digits[n++] = (char)('0' + rest % 10);
    line[len++] = '(';
    while (n)
        line[len++] = digits[--n];
    memcpy(line + len, "); it fails with EPERM\n", 23);
    ignored = write(STDERR_FILENO, line, len + 23); /* no other function is safe here */
    (void)ignored;
}

static void on_refusal(int signal, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    long number = info->si_syscall;

    (void)signal;
    if (number >= 0 && number < CALL_NUMBERS_MAX && !atomic_exchange(&refused_before[number], true))
        say_refused(number);
#if defined(__x86_64__)
    c->uc_mcontext.gregs[REG_RAX] = -EPERM;
#else
    c->uc_mcontext.regs[0] = (unsigned long)-EPERM;
#endif
}

int sandbox_calls_enter(void)
{
    struct program p = { 0 };
    struct sock_fprog fprog = { .filter = p.code };
    struct sigaction action = { .sa_sigaction = on_refusal, .sa_flags = SA_SIGINFO | SA_NODEFER };

    write_program(&p);
    fprog.len = p.len;
    if (sigaction(SIGSYS, &action, NULL) < 0)
        return -errno;
    return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &fprog) < 0 ? -errno : 0;
}

#else /* an architecture whose numbers nobody has checked */

int sandbox_calls_enter(void)
{
    return -ENOSYS;
}

#endif
