#define _GNU_SOURCE 1 /* secure_getenv, SYS_close_range */

#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

#include "library.h"

/* A program that runs with rights of somebody else's must not believe its environment. */
static const char *environment(const char *name)
{
#ifdef __linux__
    const char *value = secure_getenv(name);
#else
    const char *value = issetugid() ? NULL : getenv(name);
#endif
    return value && *value ? value : NULL;
}

/* A folder that others can write to could hold somebody else's socket. One that is not there yet the server makes. */
static bool check_folder(struct session *session, const char *folder)
{
    struct stat found;
    if (lstat(folder, &found) != 0)
        return errno == ENOENT || session_fail(session, SQLITE_ERROR, "%s: %s", folder, strerror(errno));
    if (!S_ISDIR(found.st_mode) || found.st_uid != geteuid() || (found.st_mode & 077))
        return session_fail(session, SQLITE_ERROR,
                            "%s must be a folder of yours that nobody else can enter (mode 0700): "
                            "remove it, or set SQLRAG_SOCKET to another path",
                            folder);
    return true;
}

const char *server_token(void) { return environment("SQLRAG_SOCKET_TOKEN"); }

bool server_socket(struct session *session, char path[SOCKET_PATH])
{
    const char *given = environment("SQLRAG_SOCKET"), *runtime = environment("XDG_RUNTIME_DIR");
    char folder[SOCKET_PATH];
    struct stat found;
    if (given)
        snprintf(path, SOCKET_PATH, "%s", given);
    else if (runtime && stat(runtime, &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == geteuid())
        snprintf(path, SOCKET_PATH, "%s/sqlrag/server-1.sock", runtime);
    else
        snprintf(path, SOCKET_PATH, "/tmp/sqlrag-%lu/server-1.sock", (unsigned long)geteuid());
    const char *end = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", end ? (int)(end - path) : 1, end ? path : ".");
    return check_folder(session, folder);
}

static bool is_program(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISREG(found.st_mode) && access(path, X_OK) == 0;
}

/* Finds a program as a shell does. */
static bool in_path(const char *name, char *program, size_t room)
{
    const char *folders = environment("PATH");
    while (folders && *folders) {
        size_t length = strcspn(folders, ":");
        int written = snprintf(program, room, "%.*s/%s", (int)length, folders, name);
        if (length && written > 0 && (size_t)written < room && is_program(program))
            return true;
        folders += length + (folders[length] == ':');
    }
    return false;
}

static bool find_program(struct session *session, char *program, size_t room)
{
    const char *given = environment("SQLRAG_COMMAND");
    if (given) {
        snprintf(program, room, "%s", given);
        return is_program(program) ||
               session_fail(session, SQLITE_ERROR, "SQLRAG_COMMAND is %s, which is no program", given);
    }
    /* lib/python3.x/site-packages/sqlrag/ and bin/ of one installation */
    char folder[SOCKET_PATH - 64];
    if (library_folder(folder, sizeof folder) &&
        (strstr(folder, "/site-packages/") || strstr(folder, "/dist-packages/"))) {
        snprintf(program, room, "%s/../../../../bin/sqlrag", folder);
        if (is_program(program))
            return true;
    }
    return in_path("sqlrag", program, room) ||
           session_fail(session, SQLITE_ERROR,
                        "the program sqlrag, which holds the models, is not in PATH: pip install sqlrag, "
                        "or set SQLRAG_COMMAND to its path");
}

static void close_others(int except)
{
#ifdef SYS_close_range
    if (except > 3)
        syscall(SYS_close_range, 3, except - 1, 0);
    if (syscall(SYS_close_range, except + 1, ~0U, 0) == 0)
        return;
#endif
    for (int other = 3; other < 1024; other++)
        if (other != except)
            close(other);
}

/* In the child: nothing but calls that are safe after fork() in a process with threads (signal-safety(7)). */
static _Noreturn void become_server(const char *program, int told)
{
    setsid();
    pid_t server = fork(); /* no child of the user's program, which would have to wait for it */
    if (server != 0)
        _exit(server < 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int number = 1; number < 32; number++)
        signal(number, SIG_DFL);
    int null = open("/dev/null", O_RDWR);
    for (int place = 0; place < 3; place++)
        dup2(null, place);
    close_others(told);
    char *const arguments[] = {(char *)program, (char *)"serve", NULL};
    execv(program, arguments);
    int code = errno;
    _exit(write(told, &code, sizeof code) != sizeof code);
}

bool server_start(struct session *session)
{
    char program[SOCKET_PATH];
    int told[2]; /* carries errno if the program does not run, and closes when it does */
    if (!find_program(session, program, sizeof program))
        return false;
    if (pipe(told) != 0)
        return session_fail(session, SQLITE_ERROR, "the sqlrag server cannot be started: %s", strerror(errno));
    fcntl(told[0], F_SETFD, FD_CLOEXEC);
    fcntl(told[1], F_SETFD, FD_CLOEXEC);
    pid_t child = fork();
    if (child == 0)
        become_server(program, told[1]);
    int code = child < 0 ? errno : 0;
    close(told[1]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    while (child > 0 && read(told[0], &code, sizeof code) < 0 && errno == EINTR)
        ;
    close(told[0]);
    return code == 0 ||
           session_fail(session, SQLITE_ERROR, "%s, which holds the models, cannot be started: %s", program,
                        strerror(code));
}
