/* Where this library lies, to find what is installed beside it. */

#ifndef SQLRAG_LIBRARY_H
#define SQLRAG_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* Keeps this library in the process, whoever unloads it: something outside of it will call it. */
void library_stay(void);

/* Writes the folder of this library; false if it is not known. */
bool library_folder(char *folder, size_t room);

#endif
