#include "vec.h"

#include <dlfcn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "library.h"

#ifdef __APPLE__
#define SUFFIX ".dylib"
#else
#define SUFFIX ".so"
#endif

typedef int entry_point(sqlite3 *, char **, const sqlite3_api_routines *);

static const sqlite3_api_routines *all_routines;

void vec_use(const sqlite3_api_routines *routines) { all_routines = routines; }

static bool is_registered(sqlite3 *database)
{
    sqlite3_stmt *statement = NULL;
    bool there = sqlite.prepare_v2(database, "SELECT vec_version()", -1, &statement, NULL) == SQLITE_OK;
    sqlite.finalize(statement);
    return there;
}

/* A library becomes part of this process: nobody but its user, or root, may have written it. */
static bool is_safe(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISREG(found.st_mode) && (found.st_uid == geteuid() || found.st_uid == 0) &&
           !(found.st_mode & S_IWOTH);
}

static bool load(struct session *session, const char *path)
{
    if (!is_safe(path))
        return false;
    /* SQLite calls its functions until the connection is closed, when our own code may have gone. */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return false;
    entry_point *init = NULL;
    *(void **)&init = dlsym(library, "sqlite3_vec_init");
    char *message = NULL;
    session->vec_is_there = init && init(session->database, &message, all_routines) == SQLITE_OK;
    dlclose(library);
    return session->vec_is_there;
}

void vec_load_beside(struct session *session)
{
    char folder[4000], path[4096];
    session->vec_is_there = is_registered(session->database);
    if (session->vec_is_there || !library_folder(folder, sizeof folder))
        return;
    snprintf(path, sizeof path, "%s/vec0" SUFFIX, folder);
    if (load(session, path))
        return;
    snprintf(path, sizeof path, "%s/../sqlite_vec/vec0" SUFFIX, folder);
    load(session, path);
}

const char *vec_load(struct session *session)
{
    if (session->vec_is_there || (session->vec_is_there = is_registered(session->database)))
        return NULL;
    char path[4096]; /* as SQLite does, with or without the suffix */
    snprintf(path, sizeof path, "%s" SUFFIX, session->vec_path ? session->vec_path : "");
    if (session->vec_path && (load(session, path) || load(session, session->vec_path)))
        return NULL;
    return "sqlite-vec is not loaded in this connection, and the server knows no file of it that can be: "
           "load its vec0 before sqlrag's extension";
}
