#include "shim/supervise.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstdio>
#include <stdexcept>

namespace minions::shim {
namespace {

/// Whatever ends the daemon, its terminal or its session does not end the shim, and nothing of theirs is
/// kept.
void detach(int descriptors) {
    ::setsid();
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE}) ::signal(signal, SIG_IGN);
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    ::umask(0);
    if (::chdir("/") != 0) return;
    ::syscall(SYS_close_range, static_cast<unsigned>(first_passed_fd + descriptors), ~0U, 0U);
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int number = 0; number < 3 && null; ++number) ::dup2(null.get(), number);
}

}  // namespace
}  // namespace minions::shim

int main(int count, char** arguments) {
    using namespace minions::shim;
    Options options;
    try {
        options = read_options({arguments + 1, arguments + count});
    } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "minions-shim: %s\n", error.what());
        return 2;
    }
    // The starter waits for this process alone: the shim itself is no child of a daemon that may end.
    const pid_t pid = ::fork();
    if (pid < 0) return 1;
    if (pid > 0) return 0;
    detach(options.descriptors);
    return supervise(options, minions::Fd(starter_fd));
}
