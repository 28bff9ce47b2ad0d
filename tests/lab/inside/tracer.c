/* Run a program, and kill it or let a call fail at its N-th system call that changes something.
 *
 * usage: tracer FD ROLE:N:ACTION PROGRAM [ARGUMENT...]
 *
 * ROLE    main: PROGRAM itself; delegate: any process that it starts. Calls are counted from 1 for each.
 *         answer: PROGRAM where it receives an answer from netlink; its request is done, and the receive may fail
 *         question: PROGRAM where it opens or lists something below /proc, /sys, /run or /var only to read it, or creates
 *         a socket, a pipe or a pidfd. These two are counted only if selected.
 * ACTION  kill: SIGKILL to the process that makes the call, which is not executed then
 *         orphan: SIGKILL to PROGRAM while its delegate makes the call; the delegate continues
 *         fail=ERRNO: the call is not executed and returns this error
 *         none: only list the calls
 * FD      gets a line "point ROLE N CALL DETAIL" before each such call, and "main STATUS" (as of wait(2)) when PROGRAM has
 *         ended; it is closed when all processes have ended. The detail of an answer is the last request.
 *
 * A seccomp filter selects the calls, so that all others run at full speed, and the tracer reads their arguments. Netlink
 * requests that only read (RTM_GET...), opens that create no file, threads and the run time's event descriptors are no points.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_TASKS 256
#define MOST_BYTES 256

enum kind {
    WRITE, SEND, SENDMSG, PATH, PATH_AT, TWO_PATHS, TWO_PATHS_AT, OPEN, OPEN_AT, ON_FD, FORK, FORK3, PLAIN, RECEIVE, RECEIVE_MSG
};
enum role { MAIN, DELEGATE, ANSWER, QUESTION, NOBODY };

struct call {
    int number;
    const char *name;
    enum kind kind;
};

/* Calls that may change something. Every call of a program must be here or in test_kill_sweep.py's list of harmless calls. */
static const struct call CALLS[] = {
    {SYS_write, "write", WRITE},         {SYS_pwrite64, "pwrite", WRITE},     {SYS_writev, "writev", WRITE},
    {SYS_sendto, "send", SEND},          {SYS_sendmsg, "sendmsg", SENDMSG},   {SYS_rename, "rename", TWO_PATHS},
    {SYS_renameat, "rename", TWO_PATHS_AT}, {SYS_renameat2, "rename", TWO_PATHS_AT}, {SYS_link, "link", TWO_PATHS},
    {SYS_linkat, "link", TWO_PATHS_AT},  {SYS_symlink, "symlink", TWO_PATHS}, {SYS_mkdir, "mkdir", PATH},
    {SYS_mkdirat, "mkdir", PATH_AT},     {SYS_rmdir, "rmdir", PATH},          {SYS_unlink, "unlink", PATH},
    {SYS_unlinkat, "unlink", PATH_AT},   {SYS_truncate, "truncate", PATH},    {SYS_ftruncate, "ftruncate", ON_FD},
    {SYS_chmod, "chmod", PATH},          {SYS_fchmod, "fchmod", ON_FD},       {SYS_fchmodat, "fchmodat", PATH_AT},
    {SYS_chown, "chown", PATH},          {SYS_fchown, "fchown", ON_FD},       {SYS_utimensat, "utimensat", PATH_AT},
    {SYS_open, "open", OPEN},            {SYS_creat, "creat", PATH},          {SYS_openat, "open", OPEN_AT},
    {SYS_fsync, "fsync", ON_FD},         {SYS_fdatasync, "fdatasync", ON_FD}, {SYS_flock, "flock", ON_FD},
    {SYS_setns, "setns", ON_FD},         {SYS_unshare, "unshare", PLAIN},     {SYS_mount, "mount", TWO_PATHS},
    {SYS_umount2, "umount", PATH},       {SYS_fork, "fork", PLAIN},           {SYS_vfork, "fork", PLAIN},
    {SYS_clone, "fork", FORK},           {SYS_clone3, "fork", FORK3},         {SYS_execve, "execve", PATH},
    {SYS_kill, "kill", PLAIN},
};
#define CALL_COUNT (sizeof CALLS / sizeof CALLS[0])

/* Calls that change nothing, traced only for an answer or a question. */
static const struct call ANSWERS[] = {{SYS_recvfrom, "answer", RECEIVE}, {SYS_recvmsg, "answer", RECEIVE_MSG}};
static const struct call QUESTIONS[] = {
    {SYS_socket, "socket", PLAIN},
    {SYS_pipe2, "pipe", PLAIN},
    {SYS_pidfd_open, "pidfd", PLAIN},
    {SYS_getdents64, "list", ON_FD},
};
static const char *const READ_BELOW[] = {"/proc/", "/sys/", "/run/", "/var/"};
#define MOST_CALLS (CALL_COUNT + 4)

static struct task {
    pid_t id, process;
} tasks[MOST_TASKS];
static pid_t main_process;
static int report_fd = -1, started, counts[NOBODY];
static const char *const ROLES[] = {"main", "delegate", "answer", "question"};
static enum role selected;
static struct call calls[MOST_CALLS]; /* selected by the filter */
static size_t call_count;
static char sent_last[2 * MOST_BYTES + 16]; /* by PROGRAM itself, to netlink */

static void die(const char *what) {
    fprintf(stderr, "tracer: %s: %s\n", what, strerror(errno));
    exit(125);
}

static void report(const char *format, ...) {
    char line[2 * MOST_BYTES + 1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof line) length = sizeof line - 1;
    if (write(report_fd, line, length) != length) die("write");
}

static void pick(const struct call *more, size_t count) {
    memcpy(calls + call_count, more, count * sizeof *more);
    call_count += count;
}

static void install_filter(void) {
    struct sock_filter filter[MOST_CALLS + 8];
    unsigned short at = 0;
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < call_count; i++)
        filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number,
                                                    (unsigned char)(call_count - i), 0);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog program = {at, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) die("seccomp");
}

static struct task *task_of(pid_t id) {
    struct task *empty = NULL;
    for (int i = 0; i < MOST_TASKS; i++) {
        if (tasks[i].id == id) return &tasks[i];
        if (!tasks[i].id && !empty) empty = &tasks[i];
    }
    if (!empty) errno = ENOSPC, die("too many tasks");
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", id);
    empty->id = empty->process = id;
    FILE *status = fopen(path, "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "Tgid: %d", &empty->process) == 1) break;
    if (status) fclose(status);
    return empty;
}

static ssize_t copy(pid_t id, unsigned long long from, void *to, size_t size) {
    /* At most to the end of its page: the next one may not be mapped. */
    size_t left = 4096 - (from & 4095);
    struct iovec here = {to, size < left ? size : left}, there = {(void *)from, size < left ? size : left};
    ssize_t got = process_vm_readv(id, &here, 1, &there, 1, 0);
    if (got > 0 && (size_t)got == left && size > left) {
        ssize_t more = copy(id, from + left, (char *)to + left, size - left);
        if (more > 0) got += more;
    }
    return got;
}

static const char *string_of(pid_t id, unsigned long long from, char *to, size_t size) {
    ssize_t got = copy(id, from, to, size - 1);
    to[got > 0 ? got : 0] = 0;
    return to;
}

static const char *path_of_fd(pid_t process, int fd, char *to, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/fd/%d", process, fd);
    ssize_t got = readlink(link, to, size - 1);
    to[got > 0 ? got : 0] = 0;
    return to;
}

static int domain_of(pid_t process, int fd) {
    int domain = -1, handle = syscall(SYS_pidfd_open, process, 0);
    socklen_t size = sizeof domain;
    if (handle < 0) return -1;
    int mine = syscall(SYS_pidfd_getfd, handle, fd, 0);
    if (mine >= 0 && getsockopt(mine, SOL_SOCKET, SO_DOMAIN, &domain, &size)) domain = -1;
    if (mine >= 0) close(mine);
    close(handle);
    return domain;
}

/* Describe a message that is sent; return whether it may change something. */
static int sent(pid_t id, pid_t process, int fd, unsigned long long data, size_t size, char *to) {
    unsigned char bytes[MOST_BYTES];
    int domain = domain_of(process, fd);
    ssize_t got = copy(id, data, bytes, size < sizeof bytes ? size : sizeof bytes);
    char *end = to + sprintf(to, "%s ", domain == AF_NETLINK ? "netlink" : domain == AF_PACKET ? "packet" : "socket");
    for (ssize_t i = 0; i < got; i++) end += sprintf(end, "%02x", bytes[i]);
    if (domain != AF_NETLINK || got < 6) return 1;
    if (process == main_process) strcpy(sent_last, to);
    unsigned type = bytes[4] | bytes[5] << 8;
    return type < 16 || type % 4 != 2;
}

/* Return whether an answer is received from netlink; MSG_PEEK for its size is none. */
static int received(pid_t process, int fd, unsigned long long flags, char *to) {
    strcpy(to, sent_last);
    return !(flags & MSG_PEEK) && domain_of(process, fd) == AF_NETLINK;
}

static int is_question(const char *path) {
    for (size_t i = 0; selected == QUESTION && i < sizeof READ_BELOW / sizeof *READ_BELOW; i++)
        if (!strncmp(path, READ_BELOW[i], strlen(READ_BELOW[i]))) return 1;
    return 0;
}

static enum role opened(const char *path, unsigned long long flags, enum role changes) {
    return flags & (O_CREAT | O_TRUNC) ? changes : is_question(path) ? QUESTION : NOBODY;
}

/* Describe a call in `to`; return the role that it is counted for, or NOBODY if it is no point. */
static enum role describe(const struct call *call, pid_t id, pid_t process, const struct user_regs_struct *regs, char *to) {
    enum role changes = process == main_process ? MAIN : DELEGATE;
    char path[512] = "", new_path[512] = "";
    struct msghdr message;
    struct iovec part;
    struct clone_args clone;
    switch (call->kind) {
    case WRITE:
        path_of_fd(process, regs->rdi, path, sizeof path);
        sprintf(to, "%s", path);
        return strncmp(path, "anon_inode:", 11) ? changes : NOBODY;
    case SEND:
        return sent(id, process, regs->rdi, regs->rsi, regs->rdx, to) ? changes : NOBODY;
    case SENDMSG:
        if (copy(id, regs->rsi, &message, sizeof message) != sizeof message) return changes;
        if (copy(id, (unsigned long long)message.msg_iov, &part, sizeof part) != sizeof part) return changes;
        return sent(id, process, regs->rdi, (unsigned long long)part.iov_base, part.iov_len, to) ? changes : NOBODY;
    case PATH:
        return sprintf(to, "%s", string_of(id, regs->rdi, path, sizeof path)), changes;
    case PATH_AT:
        return sprintf(to, "%s", string_of(id, regs->rsi, path, sizeof path)), changes;
    case TWO_PATHS:
        string_of(id, regs->rdi, path, sizeof path);
        return sprintf(to, "%s %s", path, string_of(id, regs->rsi, new_path, sizeof new_path)), changes;
    case TWO_PATHS_AT:
        string_of(id, regs->rsi, path, sizeof path);
        return sprintf(to, "%s %s", path, string_of(id, regs->r10, new_path, sizeof new_path)), changes;
    case OPEN:
        sprintf(to, "%s", string_of(id, regs->rdi, path, sizeof path));
        return opened(path, regs->rsi, changes);
    case OPEN_AT:
        sprintf(to, "%s", string_of(id, regs->rsi, path, sizeof path));
        return opened(path, regs->rdx, changes);
    case ON_FD:
        sprintf(to, "%s", path_of_fd(process, regs->rdi, path, sizeof path));
        return call->number != SYS_getdents64 ? changes : is_question(path) ? QUESTION : NOBODY;
    case FORK:
        return regs->rdi & CLONE_THREAD ? NOBODY : changes;
    case FORK3:
        memset(&clone, 0, sizeof clone);
        copy(id, regs->rdi, &clone, sizeof clone.flags);
        return clone.flags & CLONE_THREAD ? NOBODY : changes;
    case PLAIN:
        for (size_t i = 0; i < sizeof QUESTIONS / sizeof *QUESTIONS; i++)
            if (QUESTIONS[i].number == call->number) return QUESTION;
        return changes;
    case RECEIVE:
        return received(process, regs->rdi, regs->r10, to) ? ANSWER : NOBODY;
    case RECEIVE_MSG:
        return received(process, regs->rdi, regs->rdx, to) ? ANSWER : NOBODY;
    }
    return changes;
}

static void act(const char *action, pid_t id, pid_t process, struct user_regs_struct *regs) {
    if (!strcmp(action, "kill")) {
        kill(process, SIGKILL);
    } else if (!strcmp(action, "orphan")) {
        kill(main_process, SIGKILL);
    } else if (!strncmp(action, "fail=", 5)) {
        regs->orig_rax = -1;
        regs->rax = -atoi(action + 5);
        if (ptrace(PTRACE_SETREGS, id, 0, regs)) die("PTRACE_SETREGS");
    }
}

static void at_call(const struct task *task, int point, const char *action) {
    struct user_regs_struct regs;
    char detail[2 * MOST_BYTES + 1100] = "";
    if (ptrace(PTRACE_GETREGS, task->id, 0, &regs)) return; /* killed in the meantime */
    const struct call *call = NULL;
    for (size_t i = 0; i < call_count; i++)
        if ((unsigned long long)calls[i].number == regs.orig_rax) call = &calls[i];
    if (!call) return;
    if (!started) { /* the tracer's child before PROGRAM */
        started = call->number == SYS_execve;
        return;
    }
    enum role role = describe(call, task->id, task->process, &regs, detail);
    if (role == NOBODY || (role > DELEGATE && task->process != main_process)) return;
    for (char *c = detail; *c; c++)
        if (*c == '\n') *c = '?';
    int number = ++counts[role];
    report("point %s %d %s %s\n", ROLES[role], number, call->name, detail);
    if (number == point && role == selected) act(action, task->id, task->process, &regs);
}

int main(int argc, char **argv) {
    char role_name[16], action[32];
    int point, gate[2], status;
    if (argc < 4 || sscanf(argv[2], "%15[a-z]:%d:%31s", role_name, &point, action) != 3) {
        fprintf(stderr, "usage: tracer FD ROLE:N:ACTION PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    while (selected < NOBODY && strcmp(role_name, ROLES[selected])) selected++;
    if (selected == NOBODY) errno = EINVAL, die(role_name);
    pick(CALLS, CALL_COUNT);
    if (selected == ANSWER) pick(ANSWERS, sizeof ANSWERS / sizeof *ANSWERS);
    if (selected == QUESTION) pick(QUESTIONS, sizeof QUESTIONS / sizeof *QUESTIONS);
    report_fd = atoi(argv[1]);
    fcntl(report_fd, F_SETFD, FD_CLOEXEC);
    if (pipe2(gate, O_CLOEXEC)) die("pipe");
    main_process = fork();
    if (main_process < 0) die("fork");
    if (!main_process) {
        char go;
        close(gate[1]);
        if (read(gate[0], &go, 1) != 1) _exit(125);
        install_filter();
        execv(argv[3], argv + 3);
        _exit(127);
    }
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SEIZE, main_process, 0, options)) die("PTRACE_SEIZE");
    if (write(gate[1], "", 1) != 1) die("starting");
    for (;;) {
        pid_t id = waitpid(-1, &status, __WALL);
        if (id < 0) {
            if (errno == ECHILD) return 0;
            die("waitpid");
        }
        if (!WIFSTOPPED(status)) {
            task_of(id)->id = 0;
            if (id == main_process) report("main %d\n", status);
            continue;
        }
        int event = status >> 16, signal = event ? 0 : WSTOPSIG(status);
        const struct task *task = task_of(id);
        if (event == PTRACE_EVENT_SECCOMP) at_call(task, point, action);
        ptrace(PTRACE_CONT, id, 0, signal);
    }
}
