/*
 * Python modules compiled into the program, in CPython's table of frozen modules (PyImport_FrozenModules).
 *
 * Importing one takes a third of the time of a module in a file. The interpreter imports some itself at its start
 * (encodings), so the table must be set before it is initialised and after libpython was loaded. The bootloader's
 * function for pre-initialisation is at that point, and is replaced here (linker option --wrap). freeze.py writes the
 * table.
 */
#include <Python.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frozen_modules.h"

int __real_pyi_pyconfig_preinit_python(const void *options, const void *context);

/*
 * CPython refuses to start if standard input is a directory. It is replaced by a file that cannot be read, so that the
 * plugin starts and reports the error to the runtime.
 */
static void replace_directory(void)
{
    struct stat input;
    int unreadable;

    if (fstat(0, &input) == 0 && S_ISDIR(input.st_mode) && (unreadable = open("/dev/null", O_WRONLY)) >= 0) {
        dup2(unreadable, 0);
        close(unreadable);
    }
}

int __wrap_pyi_pyconfig_preinit_python(const void *options, const void *context)
{
    const struct _frozen **table = dlsym(RTLD_DEFAULT, "PyImport_FrozenModules");

    if (table == NULL) {
        return -1; /* the bootloader reports an error and exits */
    }
    *table = frozen_modules;
    replace_directory();
    return __real_pyi_pyconfig_preinit_python(options, context);
}
