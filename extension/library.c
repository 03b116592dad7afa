#define _GNU_SOURCE 1 /* dladdr */

#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char here; /* an address of ours */

void library_stay(void)
{
    Dl_info found;
    if (dladdr(&here, &found) && found.dli_fname)
        dlopen(found.dli_fname, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

bool library_folder(char *folder, size_t room)
{
    Dl_info found;
    if (!dladdr(&here, &found) || !found.dli_fname)
        return false;
    char *whole = realpath(found.dli_fname, NULL);
    char *end = whole ? strrchr(whole, '/') : NULL;
    bool fits = end && (size_t)(end - whole) < room;
    if (fits) {
        *end = '\0';
        strcpy(folder, whole);
    }
    free(whole);
    return fits;
}
