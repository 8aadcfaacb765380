#include "exec.hpp"

#include "program.hpp"
#include "users.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>

namespace minions::agent {

namespace {

constexpr const char* usual_path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Terminal {
    Fd master;
    Fd slave;
};

Terminal open_terminal() {
    Terminal terminal;
    terminal.master.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    char name[64];
    if (!terminal.master || ::grantpt(terminal.master.get()) != 0 || ::unlockpt(terminal.master.get()) != 0 ||
        ::ptsname_r(terminal.master.get(), name, sizeof name) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot open a terminal");
    terminal.slave.reset(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!terminal.slave) throw std::system_error(errno, std::generic_category(), "cannot open a terminal");
    return terminal;
}

void set_size(const Fd& terminal, const Fields& fields) {
    const auto rows = fields.number(tag::rows);
    const auto columns = fields.number(tag::columns);
    if (!rows || !columns) return;
    winsize size{};
    size.ws_row = static_cast<unsigned short>(std::clamp<std::int64_t>(*rows, 1, 65535));
    size.ws_col = static_cast<unsigned short>(std::clamp<std::int64_t>(*columns, 1, 65535));
    ::ioctl(terminal.get(), TIOCSWINSZ, &size);
}

class Exec final : public Program {
  public:
    Exec(Session& session, std::uint32_t stream, Process process, Pipes pipes, Fd terminal)
        : Program(session, stream, std::move(process), std::move(pipes)), terminal_(std::move(terminal)) {}
    void control(const Fields& fields) override {
        if (terminal_) set_size(terminal_, fields);
        Program::control(fields);
    }

  private:
    Fd terminal_;
};

bool is_directory(const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

/// What the program is to be, but for its descriptors.
SpawnOptions options_of(const Fields& fields) {
    SpawnOptions options;
    options.no_new_privs = false;  // sudo and its like are the guest's own business
    options.argv = fields.all(tag::argument);
    if (options.argv.empty() || options.argv[0].empty()) throw Refusal{End::refused, "no command was named"};
    const User user = find_user(fields.text(tag::user).value_or(""));
    options.identity = user.identity;
    options.env = {usual_path, "HOME=" + user.home, "USER=" + user.name, "LOGNAME=" + user.name};
    if (fields.number(tag::terminal).value_or(0) != 0) options.env.emplace_back("TERM=xterm-256color");
    for (std::string& variable : fields.all(tag::variable)) {
        const std::string name = variable.substr(0, variable.find('=') + 1);
        std::erase_if(options.env, [&](const std::string& each) { return each.rfind(name, 0) == 0; });
        options.env.push_back(std::move(variable));
    }
    if (const auto directory = fields.text(tag::directory)) {
        options.cwd = *directory;
        if (!is_directory(options.cwd))
            throw Refusal{End::refused, "the working directory '" + options.cwd + "' does not exist"};
    } else {
        options.cwd = is_directory(user.home) ? user.home : "/";
    }
    return options;
}

/// As a shell answers for a program that it cannot run.
[[noreturn]] void refuse(const std::string& program, int error) {
    if (error == ENOENT) throw Refusal{End::not_found, program + ": command not found"};
    if (error == EACCES || error == ENOEXEC || error == EISDIR)
        throw Refusal{End::not_executable, program + ": " + std::generic_category().message(error)};
    throw Refusal{End::failed, program + ": " + std::generic_category().message(error)};
}

}  // namespace

std::unique_ptr<Task> begin_exec(Session& session, std::uint32_t stream, const Fields& fields) {
    SpawnOptions options = options_of(fields);
    Program::Pipes pipes;
    Fd control;
    if (fields.number(tag::terminal).value_or(0) != 0) {
        Terminal terminal = open_terminal();
        set_size(terminal.master, fields);
        options.controlling_terminal = true;
        options.in = Stdio(duplicate(terminal.slave.get()));
        options.out = Stdio(duplicate(terminal.slave.get()));
        options.err = Stdio(std::move(terminal.slave));
        pipes.input = duplicate(terminal.master.get());
        pipes.output = duplicate(terminal.master.get());
        control = std::move(terminal.master);
    } else {
        FdPair out = make_pipe();
        FdPair err = make_pipe();
        options.out = Stdio(std::move(out.second));
        options.err = Stdio(std::move(err.second));
        pipes.output = std::move(out.first);
        pipes.error = std::move(err.first);
        if (fields.number(tag::input).value_or(0) != 0) {
            FdPair in = make_pipe();
            options.in = Stdio(std::move(in.first));
            pipes.input = std::move(in.second);
        }
    }
    const std::string program = options.argv[0];
    Process process;
    try {
        process = spawn(std::move(options));
    } catch (const std::system_error& error) {
        refuse(program, error.code().value());
    }
    auto exec =
        std::make_unique<Exec>(session, stream, std::move(process), std::move(pipes), std::move(control));
    if (const auto limit = fields.number(tag::timeout_ms)) exec->limit(std::chrono::milliseconds(*limit));
    return exec;
}

}  // namespace minions::agent
