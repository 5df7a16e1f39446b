/* See pty.h. */
#include "launcher/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { ROWS = 24, COLUMNS = 80, COLUMNS_LEAST = 20 };

static int open_other_end(int master) {
#ifdef TIOCGPTPEER
    int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0) return fd;
#endif
    char path[64]; /* kernels before 4.13 */
    if (ptsname_r(master, path, sizeof path) != 0) return -1;
    return open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static void set_modes(int slave) {
    struct termios modes;
    if (tcgetattr(0, &modes) != 0 && tcgetattr(1, &modes) != 0 && tcgetattr(slave, &modes) != 0) return;
    modes.c_lflag |= ICANON | ISIG | ECHO | ECHOE | ECHOK | IEXTEN; /* whatever state ours is in */
    modes.c_iflag |= ICRNL;
    modes.c_oflag &= ~(tcflag_t)(ONLCR | OCRNL | ONOCR | ONLRET);
    tcsetattr(slave, TCSANOW, &modes);
}

td_status launcher_pty_open(int ends[2]) {
    ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ends[1] = -1;
    if (ends[0] >= 0 && grantpt(ends[0]) == 0 && unlockpt(ends[0]) == 0) ends[1] = open_other_end(ends[0]);
    if (ends[1] < 0) {
        int error = errno;
        if (ends[0] >= 0) close(ends[0]);
        ends[0] = -1;
        return td_fail_errno(error, "launcher", "--pty: cannot make a terminal");
    }
    set_modes(ends[1]);
    return TD_OK;
}

void launcher_pty_resize(int end, size_t less) {
    struct winsize size = {0};
    for (int i = 0; i < 3; i++) {
        int fd = (i + 1) % 3; /* what we write to is what matters */
        if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) break;
    }
    if (size.ws_col == 0) size = (struct winsize){.ws_row = ROWS, .ws_col = COLUMNS};
    if (size.ws_col > less + COLUMNS_LEAST) size.ws_col = (unsigned short)(size.ws_col - less);
    ioctl(end, TIOCSWINSZ, &size);
}
