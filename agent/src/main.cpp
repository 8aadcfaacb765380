#include "files.hpp"
#include "init.hpp"
#include "machine.hpp"
#include "transport.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <optional>
#include <string>

namespace {

constexpr const char* help =
    "Serves the host of this virtual machine: commands, files, network, time, status.\n"
    "\n"
    "  minions-agent [--connect auto|vsock[:PORT]|serial[:DEVICE]|unix:PATH]\n"
    "\n"
    "Runs until it is killed, and dials the host again when the session is lost. As the first process of a "
    "machine\n"
    "(init=/usr/sbin/minions-agent) it also mounts what a system needs, reaps orphans and powers the machine "
    "off.\n";

int serve(const std::string& connect) {
    using namespace minions::agent;
    ::signal(SIGPIPE, SIG_IGN);
    const bool is_init = ::getpid() == 1;
    if (is_init) {
        prepare_system();
        std::fputs("minions-agent " MINIONS_VERSION " is the init of this machine\n", stderr);
    }
    Loop loop;
    Machine machine(loop);
    machine.software = MINIONS_VERSION;
    std::optional<Init> init;
    if (is_init) init.emplace(loop, machine);
    const minions::Fd cpus = watch_for_cpus(loop);
    Dialler dialler(loop, machine, parse_address(connect));
    dialler.dial();
    loop.run();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string first = argc > 1 ? argv[1] : "";
    try {
        if (first == "read-files" && argc == 3) return minions::agent::run_read_files(argv[2]);
        if (first == "write-files" && argc == 3) return minions::agent::run_write_files(argv[2]);
        if (first == "--help" || first == "-h") return std::fputs(help, stdout) < 0 ? 1 : 0;
        if (first == "--version") return std::puts(MINIONS_VERSION) < 0 ? 1 : 0;
        if (first == "--connect" && argc == 3) return serve(argv[2]);
        // The kernel hands an init words of its own command line: they are nobody's mistake.
        if (argc == 1 || ::getpid() == 1) return serve("auto");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "minions-agent: %s\n", error.what());
        return 1;
    }
    std::fprintf(stderr, "minions-agent: unknown arguments\n\n%s", help);
    return 2;
}
