/* Where this library lies, to find what is installed beside it. */

#ifndef SQLRAG_LIBRARY_H
#define SQLRAG_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the folder of this library; false if it is not known. */
bool library_folder(char *folder, size_t room);

#endif
