#include "files.hpp"

#include "program.hpp"

#include <minions/base/files.hpp>
#include <minions/base/tar.hpp>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdio>
#include <limits>
#include <system_error>
#include <vector>

namespace minions::agent {

namespace {

/// What a guest may hold is the guest's business; the host bounds what it takes.
constexpr TarLimits no_limits{std::numeric_limits<std::uint64_t>::max(),
                              std::numeric_limits<std::size_t>::max()};

/// A transfer: its standard error is the message of its end.
class Transfer final : public Program {
  public:
    Transfer(Session& session, std::uint32_t stream, Process process, Pipes pipes, Fd words)
        : Program(session, stream, std::move(process), std::move(pipes)), words_(std::move(words)) {}

  private:
    Fields describe(const ExitStatus& status) override {
        char text[512];
        const ssize_t size =
            ::read(words_.get(), text, sizeof text);  // the writer has ended: this never blocks
        const std::string_view message(text, size > 0 ? static_cast<std::size_t>(size) : 0);
        const bool known = status.signal == 0 && status.code <= static_cast<int>(End::failed);
        return ended(known ? static_cast<End>(status.code) : End::failed,
                     message.empty() ? status.to_string() : message);
    }
    Fd words_;
};

std::unique_ptr<Task> begin(Session& session, std::uint32_t stream, const Fields& fields, const char* role) {
    const auto path = fields.text(tag::path);
    if (!path || path->empty() || path->front() != '/' || path->find('\0') != std::string_view::npos)
        throw Refusal{End::refused, "the path must be absolute"};
    SpawnOptions options;
    options.argv = {"/proc/self/exe", role, std::string(*path)};
    options.no_new_privs = false;
    options.cwd = "/";
    FdPair words = make_pipe();
    options.err = Stdio(std::move(words.second));
    Program::Pipes pipes;
    FdPair data = make_pipe();
    if (std::string_view(role) == "read-files") {
        options.out = Stdio(std::move(data.second));
        pipes.output = std::move(data.first);
    } else {
        options.in = Stdio(std::move(data.first));
        pipes.input = std::move(data.second);
    }
    return std::make_unique<Transfer>(session, stream, spawn(std::move(options)), std::move(pipes),
                                      std::move(words.first));
}

int told(End how, const std::string& sentence) {
    std::fputs(sentence.c_str(), stderr);
    return static_cast<int>(how);
}

/// Runs one transfer and turns what it throws into its end.
template <class Work>
int transfer(Work&& work) {
    try {
        work();
        return static_cast<int>(End::done);
    } catch (const std::system_error& error) {
        const int code = error.code().value();
        if (code == ENOENT) return told(End::not_found, error.what());
        if (code == ENOTDIR || code == EXDEV || code == ELOOP) return told(End::refused, error.what());
        return told(End::failed, error.what());
    } catch (const TarError& error) {
        return told(End::refused, error.what());
    } catch (const std::exception& error) {
        return told(End::failed, error.what());
    }
}

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

Fd open_directory(const std::string& path) {
    Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) fail("cannot open the directory '" + path + "'");
    return directory;
}

/// Unpacks below one directory. Links that are there are followed as long as they stay below it.
class Unpacker {
  public:
    explicit Unpacker(Fd root) : root_(std::move(root)) {}

    void add(TarReader& reader, const TarEntry& entry) {
        const std::size_t slash = entry.name.rfind('/');
        const std::string name = slash == std::string::npos ? entry.name : entry.name.substr(slash + 1);
        const Fd parent = slash == std::string::npos ? duplicate(root_.get())
                                                     : make_directories(entry.name.substr(0, slash));
        switch (entry.type) {
            case TarEntry::Type::directory:
                if (!name.empty()) make_directory(parent.get(), name, entry.mode);
                return;
            case TarEntry::Type::symlink:
                replace(parent.get(), name);
                if (::symlinkat(entry.link.c_str(), parent.get(), name.c_str()) != 0)
                    fail("cannot make the link '" + entry.name + "'");
                return;
            case TarEntry::Type::hardlink:
                return add_hardlink(parent.get(), name, entry);
            case TarEntry::Type::file:
                return add_file(reader, parent.get(), name, entry);
        }
    }

  private:
    Fd below(const std::string& path, int flags) const {
        open_how how{};
        how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
        how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
        return Fd(static_cast<int>(::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how)));
    }

    static void make_directory(int parent, const std::string& name, mode_t mode) {
        if (::mkdirat(parent, name.c_str(), mode) == 0) {
            // Whatever the umask.
            if (::fchmodat(parent, name.c_str(), mode, 0) != 0) fail("cannot set the mode of '" + name + "'");
            return;
        }
        struct stat info {};
        if (errno != EEXIST || ::fstatat(parent, name.c_str(), &info, 0) != 0 || !S_ISDIR(info.st_mode))
            fail("cannot make the directory '" + name + "'");
    }

    /// The directory of that path, made where parts of it are missing.
    Fd make_directories(const std::string& path) const {
        Fd found = below(path, O_RDONLY | O_DIRECTORY);
        if (found || errno != ENOENT) {
            if (!found) fail("cannot enter '" + path + "'");
            return found;
        }
        const std::size_t slash = path.rfind('/');
        const Fd parent =
            slash == std::string::npos ? duplicate(root_.get()) : make_directories(path.substr(0, slash));
        make_directory(parent.get(), path.substr(slash == std::string::npos ? 0 : slash + 1), 0755);
        found = below(path, O_RDONLY | O_DIRECTORY);
        if (!found) fail("cannot enter '" + path + "'");
        return found;
    }

    /// Makes room for a new file; a directory that is there stays, and the file's own call fails on it.
    static void replace(int parent, const std::string& name) { ::unlinkat(parent, name.c_str(), 0); }

    void add_hardlink(int parent, const std::string& name, const TarEntry& entry) const {
        replace(parent, name);
        const std::size_t slash = entry.link.rfind('/');
        const Fd from =
            below(slash == std::string::npos ? "." : entry.link.substr(0, slash), O_RDONLY | O_DIRECTORY);
        const std::string target = slash == std::string::npos ? entry.link : entry.link.substr(slash + 1);
        if (!from || ::linkat(from.get(), target.c_str(), parent, name.c_str(), 0) != 0)
            fail("cannot make the link '" + entry.name + "'");
    }

    static void add_file(TarReader& reader, int parent, const std::string& name, const TarEntry& entry) {
        replace(parent, name);
        const Fd file(
            ::openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (!file) fail("cannot make the file '" + entry.name + "'");
        std::vector<char> buffer(65536);
        while (const std::size_t got = reader.read(buffer.data(), buffer.size()))
            write_all(file.get(), buffer.data(), got);
        const timespec times[] = {{entry.mtime, 0}, {entry.mtime, 0}};
        if (::fchmod(file.get(), entry.mode) != 0 || ::futimens(file.get(), times) != 0)
            fail("cannot finish the file '" + entry.name + "'");
    }

    Fd root_;
};

}  // namespace

std::unique_ptr<Task> begin_read_files(Session& session, std::uint32_t stream, const Fields& fields) {
    return begin(session, stream, fields, "read-files");
}

std::unique_ptr<Task> begin_write_files(Session& session, std::uint32_t stream, const Fields& fields) {
    return begin(session, stream, fields, "write-files");
}

int run_read_files(const std::string& path) {
    return transfer([&] {
        std::string name = path;
        while (name.size() > 1 && name.back() == '/') name.pop_back();
        const std::size_t slash = name.rfind('/');
        const Fd parent = open_directory(slash == 0 ? "/" : name.substr(0, slash));
        name.erase(0, slash + 1);
        TarWriter writer([](std::string_view piece) { write_all(1, piece.data(), piece.size()); }, no_limits);
        struct stat info {};
        if (name.empty()) {
            writer.add_tree(parent.get());
        } else if (::fstatat(parent.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
            fail("cannot read '" + path + "'");
        } else {
            writer.add_path(parent.get(), name);
        }
        writer.finish();
    });
}

int run_write_files(const std::string& path) {
    return transfer([&] {
        ::umask(0);
        Unpacker unpacker(open_directory(path));
        TarReader reader(
            [](char* data, std::size_t size) {
                for (;;) {
                    const ssize_t got = ::read(0, data, size);
                    if (got >= 0) return static_cast<std::size_t>(got);
                    if (errno != EINTR) fail("cannot read the archive");
                }
            },
            no_limits);
        while (const auto entry = reader.next()) unpacker.add(reader, *entry);
    });
}

}  // namespace minions::agent
