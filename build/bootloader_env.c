/*
 * Replacements of the bootloader's functions for environment variables (linker option --wrap).
 *
 * PyInstaller's bootloader for one-directory programs sets LD_LIBRARY_PATH, keeps its state in _PYI_* variables, and
 * executes itself a second time so that the dynamic loader uses LD_LIBRARY_PATH. The second start takes about a
 * millisecond of a CNI call, and IPAM plugins would inherit the variables. Neither is needed: libpython has an RPATH of
 * its own directory (native.py). With these functions the bootloader reads that it was restarted already, ignores such
 * variables of its caller, and sets none.
 */
#include <string.h>

char *__real_pyi_getenv(const char *name);

char *__wrap_pyi_getenv(const char *name)
{
    if (strcmp(name, "_PYI_PARENT_PROCESS_LEVEL") == 0) {
        return strdup("-1"); /* PYI_PROCESS_LEVEL_PARENT_NEEDS_RESTART: this is the restarted process */
    }
    if (strncmp(name, "_PYI_", 5) == 0 || strncmp(name, "PYINSTALLER_", 12) == 0) {
        return NULL;
    }
    return __real_pyi_getenv(name);
}

int __wrap_pyi_setenv(const char *name, const char *value)
{
    (void)name;
    (void)value;
    return 0;
}

int __wrap_pyi_unsetenv(const char *name)
{
    (void)name;
    return 0;
}
