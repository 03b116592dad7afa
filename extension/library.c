#define _GNU_SOURCE 1 /* dladdr */

#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char here; /* an address of ours */

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
