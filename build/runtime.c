/*
 * sriov-bond-runtime: an OCI runtime for Docker and containerd that gives containers their bond.
 *
 * It executes the low-level runtime (runc or crun) with the arguments that it got. Only for create, run and restore of a
 * container whose config.json may request a network it executes `sriov-bond-hook prepare` instead, which adds the hooks to
 * config.json and then executes the runtime. Nothing is forked: the runtime has this process's pid, descriptors, working
 * directory, environment and parent-death signal. containerd starts it three to five times for a container, and for each
 * `docker exec`, so it is no Python.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef HOST_FILE
#define HOST_FILE "/etc/cni/sriov-bond.toml"
#endif
#ifndef DIRECTORIES /* where the runtime is looked for after PATH */
#define DIRECTORIES "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#endif
#define NAME "sriov-bond-runtime"
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Options with a value of runc 1.0 to 1.5, crun 1.8 to 1.29 and youki; before the verb, and of create, run and restore. */
static const char *const GLOBAL_VALUES[] = {"root", "log", "log-format", "rootless", "criu", "cgroup-manager", "log-level"};
static const char *const GLOBAL_FLAGS[] = {"debug", "systemd-cgroup", "version", "v", "help", "h"};
static const char *const VALUES[] = {
    "bundle", "b", "pid-file", "console-socket", "pidfd-socket", "preserve-fds", "config", "f", "image-path", "work-path",
    "manage-cgroups-mode", "empty-ns", "lsm-profile", "lsm-mount-context", "parent-path", "page-server", "criu",
};
static const char *const VERBS[] = {
    "checkpoint", "create", "delete", "events", "exec", "features", "help", "info", "init", "kill", "list", "pause", "ps",
    "restore", "resume", "run", "spec", "start", "state", "update", "version", "mounts", "completion", "man",
};
static const char *const STARTING[] = {"create", "run", "restore"};
/* An annotation "sriov-bond.network", and the variables SRIOV_BOND_NETWORK, DOCKER_RESOURCE_SRIOV_BOND and .._SRIOV-BOND. */
static const char *const MARKS[] = {"SRIOV_BOND", "SRIOV-BOND", "sriov-bond."};

struct call {
    const char *verb, *bundle, *config, *log, *log_format;
};

struct settings { /* of the table [docker] of the host file */
    char *runtime;
    bool network;
};

static struct call call = {NULL, NULL, NULL, NULL, NULL};

static bool listed(const char *text, size_t length, const char *const *list, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        if (strlen(list[index]) == length && memcmp(list[index], text, length) == 0) {
            return true;
        }
    }
    return false;
}

#define LISTED(text, length, list) listed(text, length, list, COUNT(list))

/* Write a text as the inside of a JSON string, or of a quoted string of logrus, whose escapes are the same for these. */
static void write_quoted(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') {
            fprintf(out, "\\%c", byte);
        } else {
            fputc(byte < 0x20 || byte >= 0x7f ? '?' : byte, out);
        }
    }
}

/*
 * Report an error on standard error and in the file of --log, and exit with 1. containerd's shim shows the last line of that
 * file with the level error (process/utils.go, getLastRuntimeError).
 */
__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
    char text[1024], now[64];
    struct tm moment;
    time_t seconds = time(NULL);
    va_list values;
    bool json = call.log_format != NULL && strcmp(call.log_format, "json") == 0;
    int fd;
    FILE *log;

    va_start(values, format);
    vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    fprintf(stderr, NAME ": %s\n", text);
    strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &moment));
    fd = call.log ? open(call.log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (fd >= 0 && (log = fdopen(fd, "a")) != NULL) {
        fprintf(log, json ? "{\"level\":\"error\",\"msg\":\"" NAME ": " : "time=\"%s\" level=error msg=\"" NAME ": ", now);
        write_quoted(log, text);
        fprintf(log, json ? "\",\"time\":\"%s\"}\n" : "\"\n", now);
        fclose(log);
    }
    exit(1);
}

/* Store the value of an option of which we need it; the last one counts. */
static void keep(const char *name, size_t length, const char *value)
{
    const struct {
        const char *name;
        const char **target;
    } kept[] = {
        {"log", &call.log}, {"log-format", &call.log_format}, {"bundle", &call.bundle}, {"b", &call.bundle},
        {"config", &call.config}, {"f", &call.config},
    };
    for (size_t index = 0; index < COUNT(kept); index++) {
        if (strlen(kept[index].name) == length && memcmp(kept[index].name, name, length) == 0) {
            *kept[index].target = value;
        }
    }
}

/*
 * Find the verb, the bundle and the log of a command line: "--x v", "--x=v", "-x v", "-x=v", with one or two dashes. An option
 * that is not in the tables has no value, unless what follows it can be no verb.
 */
static void parse(char **arguments)
{
    bool unknown = false;

    for (; *arguments != NULL; arguments++) {
        const char *name = *arguments, *equals;
        size_t length;
        bool value;

        if (name[0] != '-' || name[1] == '\0') {
            if (call.verb == NULL && !(unknown && !LISTED(name, strlen(name), VERBS))) {
                call.verb = name;
            }
            unknown = false;
            continue;
        }
        if (strcmp(name, "--") == 0) {
            if (call.verb == NULL) {
                call.verb = arguments[1];
                arguments += arguments[1] != NULL;
                continue;
            }
            return;
        }
        name += name[1] == '-' ? 2 : 1;
        equals = strchr(name, '=');
        length = equals ? (size_t)(equals - name) : strlen(name);
        value = call.verb ? LISTED(name, length, VALUES) : LISTED(name, length, GLOBAL_VALUES);
        unknown = call.verb == NULL && !value && !equals && !LISTED(name, length, GLOBAL_FLAGS);
        if (value && (equals || arguments[1] != NULL)) {
            keep(name, length, equals ? equals + 1 : *++arguments);
        }
    }
}

/* Return the reason of a failed execve. Docker takes the C library's words for a mistake in the container's command. */
static const char *reason(int error)
{
    switch (error) {
    case ENOENT:
        return "it, or its interpreter, is missing";
    case EACCES:
    case EPERM:
        return "it may not be executed (mode, mount option noexec, or SELinux)";
    case ENOEXEC:
        return "it is not a program of this machine";
    default:
        return strerror(error);
    }
}

/* Return a file's content and its size, or NULL with errno. */
static char *content(const char *path, struct stat *status)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), failed;
    char *text;

    if (fd < 0) {
        return NULL;
    }
    if (fstat(fd, status) != 0 || !S_ISREG(status->st_mode) || status->st_size == 0) {
        close(fd);
        errno = EINVAL;
        return NULL;
    }
    text = mmap(NULL, (size_t)status->st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    failed = errno;
    close(fd);
    errno = failed;
    return text == MAP_FAILED ? NULL : text;
}

/* A word of TOML: a bare or quoted key, a string or another value; or a punctuation mark or line end, of length 1. */
struct word {
    const char *text;
    size_t length;
    char kind; /* 'k' bare, 's' string, 'e' string with escapes or over several lines, else the mark itself; 0 at the end */
};

static struct word next_word(const char **position, const char *end)
{
    const char *at = *position, *start;
    struct word word = {NULL, 0, 0};

    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '#')) {
        if (*at == '#') {
            while (at < end && *at != '\n') {
                at++;
            }
        } else {
            at++;
        }
    }
    if (at == end) {
        *position = at;
        return word;
    }
    start = at;
    if (*at == '"' || *at == '\'') {
        char quote = *at;
        size_t quotes = end - at >= 3 && at[1] == quote && at[2] == quote ? 3 : 1;
        word.kind = quotes == 3 ? 'e' : 's';
        for (at += quotes; at < end; at++) {
            if (quote == '"' && *at == '\\') {
                word.kind = 'e';
                at++;
            } else if (*at == quote && (quotes == 1 || (end - at >= 3 && at[1] == quote && at[2] == quote))) {
                break;
            } else if (*at == '\n' && quotes == 1) {
                break; /* no TOML */
            }
        }
        at = at < end ? at : end;
        word.text = start + quotes;
        word.length = (size_t)(at - word.text);
        at = (size_t)(end - at) < quotes ? end : at + quotes;
    } else if (strchr("=.[]{},\n", *at)) {
        word = (struct word){at, 1, *at};
        at++;
    } else {
        while (at < end && !strchr("=.[]{},\n \t\r#\"'", *at)) {
            at++;
        }
        word = (struct word){start, (size_t)(at - start), 'k'};
    }
    *position = at;
    return word;
}

static bool is(const struct word *word, const char *text)
{
    return (word->kind == 'k' || word->kind == 's') && strlen(text) == word->length && !memcmp(word->text, text, word->length);
}

/*
 * Find docker.runtime and docker.network in the host file, written as [docker] with keys, as dotted keys or as an inline table.
 * `sriov-bondctl check` and `sriov-bond-hook prepare` check the file.
 */
static void read_table(const char *at, const char *end, struct settings *settings)
{
    struct word words[6]; /* the last words, the newest first */
    bool top = true, table = false, inside = false; /* before the first table, in [docker], in docker = {..} */

    for (size_t index = 0; index < COUNT(words); index++) {
        words[index] = (struct word){NULL, 0, '\n'};
    }
    do {
        const struct word *value = &words[0], *key = &words[2];
        bool dotted;

        memmove(words + 1, words, sizeof(words) - sizeof(words[0]));
        words[0] = next_word(&at, end);
        if (words[3].kind == '\n' && words[2].kind == '[') { /* a header */
            table = is(&words[1], "docker") && words[0].kind == ']';
            top = false;
        } else if (words[0].kind == '{') {
            inside = top && words[1].kind == '=' && is(&words[2], "docker") && words[3].kind == '\n';
        } else if (words[0].kind == '}') {
            inside = false;
        }
        dotted = top && words[3].kind == '.' && is(&words[4], "docker") && words[5].kind == '\n';
        if (!(table || inside || dotted) || words[1].kind != '=' || (value->kind != 's' && value->kind != 'e')) {
            continue;
        }
        if (is(key, "network")) {
            settings->network = value->length > 0;
        } else if (is(key, "runtime")) {
            if (value->kind == 'e') {
                fail("docker.runtime in " HOST_FILE " must be a string on one line without escapes; correct it");
            }
            free(settings->runtime);
            settings->runtime = strndup(value->text, value->length);
        }
    } while (words[0].kind != 0);
}

/* Read the host file. One that is missing or not readable has no settings: containers must be stopped without it. */
static struct settings read_settings(void)
{
    struct settings settings = {NULL, false};
    struct stat status;
    char *text = content(HOST_FILE, &status);

    if (text != NULL) {
        read_table(text, text + status.st_size, &settings);
        munmap(text, (size_t)status.st_size);
        if (settings.runtime && ((status.st_uid != 0 && status.st_uid != geteuid()) || status.st_mode & (S_IWGRP | S_IWOTH))) {
            fail(HOST_FILE " names a runtime, but others than root can write it; run: chown root:root, chmod 644");
        }
    }
    return settings;
}

static bool is_program(const char *path, struct stat *status)
{
    return stat(path, status) == 0 && S_ISREG(status->st_mode) && access(path, X_OK) == 0;
}

/* Return the first program of a name in a list of directories that is not this one, or NULL. */
static char *search(const char *name, const char *directories, const struct stat *self)
{
    static char path[PATH_MAX];
    struct stat status;

    while (directories != NULL && *directories != '\0') {
        size_t length = strcspn(directories, ":");
        int size = snprintf(path, sizeof(path), "%.*s/%s", (int)length, directories, name);
        if (directories[0] == '/' && size < (int)sizeof(path) && is_program(path, &status) &&
            !(status.st_dev == self->st_dev && status.st_ino == self->st_ino)) {
            return path;
        }
        directories += length + (directories[length] == ':');
    }
    return NULL;
}

static char *find(const char *name, const struct stat *self)
{
    char *path = search(name, getenv("PATH"), self);
    return path ? path : search(name, DIRECTORIES, self);
}

/* Return the path of the low-level runtime: the configured one, else the first of runc and crun. */
static char *find_runtime(char *configured, const struct stat *self)
{
    struct stat status;
    char *path;

    if (configured == NULL || *configured == '\0') {
        path = find("runc", self);
        path = path ? path : find("crun", self);
        if (path == NULL) {
            fail("neither runc nor crun is installed; install one, or set runtime in [docker] of " HOST_FILE);
        }
        return path;
    }
    if (strchr(configured, '/') == NULL) {
        path = find(configured, self);
        if (path == NULL) {
            fail("the runtime %s of " HOST_FILE " is in no directory of PATH; install it, or correct runtime in [docker]", configured);
        }
        return path;
    }
    if (configured[0] != '/' || !is_program(configured, &status)) {
        fail("the runtime %s of " HOST_FILE " is not a program; correct runtime in [docker]", configured);
    }
    if (status.st_dev == self->st_dev && status.st_ino == self->st_ino) {
        fail("the runtime %s of " HOST_FILE " is " NAME " itself; set runtime in [docker] to runc or crun", configured);
    }
    return configured;
}

/* Write the path of the container's config.json; the runtime changes into the bundle before it opens it. */
static void config_path(char *path, size_t size)
{
    const char *bundle = call.bundle && *call.bundle ? call.bundle : ".";
    const char *file = call.config && *call.config ? call.config : "config.json";
    int length = file[0] == '/' ? snprintf(path, size, "%s", file) : snprintf(path, size, "%s/%s", bundle, file);

    if (length >= (int)size) {
        path[0] = '\0'; /* too long for the runtime too, which reports it */
    }
}

/* Return whether a config.json has a mark of a request. One that cannot be read has none: the runtime reports the error. */
static bool has_mark(const char *path)
{
    struct stat status;
    char *text = content(path, &status);
    bool found = false;

    for (size_t index = 0; text != NULL && index < COUNT(MARKS) && !found; index++) {
        found = memmem(text, (size_t)status.st_size, MARKS[index], strlen(MARKS[index])) != NULL;
    }
    if (text != NULL) {
        munmap(text, (size_t)status.st_size);
    }
    return found;
}

/* Execute `sriov-bond-hook prepare`, which is in this program's directory. */
static void prepare(const char *self, const char *config, char *runtime, int count, char **arguments)
{
    char hook[PATH_MAX];
    char **all = calloc((size_t)count + 16, sizeof(char *)), **next = all;
    const char *const named[] = {
        "sriov-bond-hook", "prepare", "--config", config, "--log", call.log ? call.log : "", "--log-format",
        call.log_format ? call.log_format : "", "--host-file", HOST_FILE, "--runtime", runtime, "--hook", hook, "--",
    };

    if (all == NULL || snprintf(hook, sizeof(hook), "%.*s/sriov-bond-hook", (int)(strrchr(self, '/') - self), self) >= PATH_MAX) {
        fail("out of memory");
    }
    for (size_t index = 0; index < COUNT(named); index++) {
        *next++ = (char *)(uintptr_t)named[index];
    }
    memcpy(next, arguments, (size_t)count * sizeof(char *));
    execv(hook, all);
    fail("cannot execute %s: %s; install sriov-bond again", hook, reason(errno));
}

int main(int argc, char **argv)
{
    char self[PATH_MAX], config[PATH_MAX];
    struct settings settings;
    struct stat status;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *runtime;

    if (argc < 1) {
        return 1;
    }
    parse(argv + 1);
    if (length <= 0 || stat("/proc/self/exe", &status) != 0) {
        fail("cannot read /proc/self/exe; mount /proc");
    }
    self[length] = '\0';
    settings = read_settings();
    runtime = find_runtime(settings.runtime, &status);
    if (call.verb != NULL && LISTED(call.verb, strlen(call.verb), STARTING)) {
        config_path(config, sizeof(config));
        if (settings.network || has_mark(config)) {
            prepare(self, config, runtime, argc - 1, argv + 1);
        }
    }
    argv[0] = runtime;
    execv(runtime, argv);
    fail("cannot execute the runtime %s: %s; install it again", runtime, reason(errno));
}
