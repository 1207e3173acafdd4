/* Makes single system calls fail, as on unusual file systems. Loaded with LD_PRELOAD by tests.

   ODD_CALLS   "link=13,fsync=22": the call and the errno that it sets.
   ODD_FOLDER  Only paths that begin with this fail; unset for all.

   `rename_over` is a rename to a name that exists, `rename_across` one from another folder. `home` makes the user unknown to the user database. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int find_fault(const char *call, const char *path)
{
    const char *calls = getenv("ODD_CALLS"), *folder = getenv("ODD_FOLDER");
    size_t length = strlen(call);
    if (!calls || (folder && path && strncmp(path, folder, strlen(folder)) != 0))
        return 0;
    for (const char *at = calls; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, call, length) == 0 && at[length] == '=')
            return atoi(at + length + 1);
    }
    return 0;
}

static int find_fault_of(const char *call, int descriptor)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return find_fault(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF(fault) do { int found = (fault); if (found) { errno = found; return -1; } } while (0)

static int lie_apart(const char *from, const char *to)
{
    const char *end = strrchr(from, '/'), *other = strrchr(to, '/');
    return !end || !other || end - from != other - to || strncmp(from, to, end - from) != 0;
}

static int find_rename_fault(const char *from, const char *to)
{
    struct stat about;
    int found = find_fault("rename", to);
    if (!found && lie_apart(from, to))
        found = find_fault("rename_across", to);
    return found ? found : lstat(to, &about) == 0 ? find_fault("rename_over", to) : 0;
}

int link(const char *from, const char *to) { FAIL_IF(find_fault("link", to)); return REAL(link)(from, to); }

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    FAIL_IF(find_fault("link", to));
    return REAL(linkat)(a, from, b, to, flags);
}

int rename(const char *from, const char *to) { FAIL_IF(find_rename_fault(from, to)); return REAL(rename)(from, to); }

int renameat(int a, const char *from, int b, const char *to)
{
    FAIL_IF(find_rename_fault(from, to));
    return REAL(renameat)(a, from, b, to);
}

int chmod(const char *path, mode_t mode) { FAIL_IF(find_fault("chmod", path)); return REAL(chmod)(path, mode); }
int fchmod(int file, mode_t mode) { FAIL_IF(find_fault_of("chmod", file)); return REAL(fchmod)(file, mode); }

int fchmodat(int folder, const char *path, mode_t mode, int flags)
{
    FAIL_IF(find_fault("chmod", path));
    return REAL(fchmodat)(folder, path, mode, flags);
}

int fsync(int file) { FAIL_IF(find_fault_of("fsync", file)); return REAL(fsync)(file); }
int fdatasync(int file) { FAIL_IF(find_fault_of("fsync", file)); return REAL(fdatasync)(file); }
int flock(int file, int what) { FAIL_IF(find_fault_of("flock", file)); return REAL(flock)(file, what); }

int getpwuid_r(uid_t user, struct passwd *entry, char *buffer, size_t size, struct passwd **found)
{
    if (find_fault("home", NULL)) {
        *found = NULL;
        return 0;
    }
    return REAL(getpwuid_r)(user, entry, buffer, size, found);
}
