/*
 * The bootloader's door to the environment, closed.
 *
 * PyInstaller's bootloader for one-directory programs sets LD_LIBRARY_PATH, leaves notes to itself in _PYI_* variables
 * and executes itself a second time so that the dynamic loader sees the first. The second start costs a CNI call about
 * a millisecond, and both would leak into every IPAM delegate. Neither is needed here: libpython carries an RPATH of
 * its own directory (native.py). These functions take the place of the bootloader's own (linker option --wrap): it is
 * told that it has been restarted already, sees no such variable that a caller may have left, and changes none.
 */
#include <string.h>

char *__real_pyi_getenv(const char *name);

char *__wrap_pyi_getenv(const char *name)
{
    if (strcmp(name, "_PYI_PARENT_PROCESS_LEVEL") == 0) {
        return strdup("-1"); /* PYI_PROCESS_LEVEL_PARENT_NEEDS_RESTART: "we are what it restarted as" */
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
