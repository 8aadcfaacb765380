#include <minions/base/files.hpp>
#include <minions/base/id.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <memory>
#include <system_error>
#include <vector>

namespace minions {
namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

std::vector<std::string> names_in(Fd directory, const std::string& path) {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(directory.get()), ::closedir);
    if (!stream) fail("cannot read " + path);
    [[maybe_unused]] const int owned_by_stream = directory.release();
    std::vector<std::string> names;
    for (errno = 0; const dirent* entry = ::readdir(stream.get()); errno = 0) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    if (errno != 0) fail("cannot read " + path);
    return names;
}

/// One directory of a tree that is being removed.
struct Level {
    Fd fd;
    std::string name;
    std::vector<std::string> left;
};

/// Walks without recursion: the depth of a hostile tree must not decide about our stack.
class Remover {
  public:
    explicit Remover(int root) : root_(root) {}

    void remove(const std::string& name) {
        visit(root_, name);
        while (!levels_.empty()) {
            Level& level = levels_.back();
            if (!level.left.empty()) {
                const std::string next = std::move(level.left.back());
                level.left.pop_back();
                visit(level.fd.get(), next);
                continue;
            }
            const std::string done = level.name;
            levels_.pop_back();
            const int parent = levels_.empty() ? root_ : levels_.back().fd.get();
            if (::unlinkat(parent, done.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) keep_error(done);
        }
        if (error_ != 0) {
            throw std::system_error(error_, std::generic_category(), "cannot remove " + resisting_);
        }
    }

  private:
    void visit(int parent, const std::string& name) {
        if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return;
        if (errno != EISDIR && errno != EPERM) return keep_error(name);
        Fd directory(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!directory) return keep_error(name);
        try {
            std::vector<std::string> names = names_in(duplicate(directory.get()), name);
            levels_.push_back({std::move(directory), name, std::move(names)});
        } catch (const std::system_error& error) {
            errno = error.code().value();
            keep_error(name);
        }
    }

    void keep_error(const std::string& name) {
        if (error_ != 0) return;
        error_ = errno;
        for (const Level& level : levels_) resisting_ += level.name + "/";
        resisting_ += name;
    }

    int root_;
    std::vector<Level> levels_;
    int error_ = 0;
    std::string resisting_;
};

void replace(const std::string& path, std::string_view data, mode_t mode, bool flush) {
    const std::size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    const std::string temporary = "." + name + "." + make_id();
    const Fd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) fail("cannot open the directory of " + path);
    const Fd file(
        ::openat(directory.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file) fail("cannot write " + path);
    try {
        write_all(file.get(), data.data(), data.size());
        if (::fchmod(file.get(), mode) != 0) fail("cannot write " + path);
        if (flush && ::fsync(file.get()) != 0) fail("cannot write " + path);
        if (::renameat(directory.get(), temporary.c_str(), directory.get(), name.c_str()) != 0) {
            fail("cannot write " + path);
        }
    } catch (const std::system_error& error) {
        ::unlinkat(directory.get(), temporary.c_str(), 0);
        throw std::system_error(error.code(), "cannot write " + path);
    }
    if (flush && ::fsync(directory.get()) != 0) fail("cannot write the directory of " + path);
}

Fd open_resolved(int directory, const std::string& path, int flags, mode_t mode, std::uint64_t resolve) {
    open_how how{};
    how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
    how.mode = mode;
    how.resolve = resolve;
    for (;;) {
        const long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
        if (fd >= 0) return Fd(static_cast<int>(fd));
        // EAGAIN: something was renamed meanwhile, so the kernel could not be sure.
        if (errno != EINTR && errno != EAGAIN) fail("cannot open " + path);
    }
}

}  // namespace

Fd open_beneath(int directory, const std::string& path, int flags, mode_t mode) {
    return open_resolved(directory, path, flags, mode,
                         RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

Fd open_in_root(int root, const std::string& path, int flags) {
    return open_resolved(root, path, flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

void remove_tree(int directory, const std::string& name) {
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
        throw std::system_error(EINVAL, std::generic_category(), "cannot remove '" + name + "'");
    }
    Remover(directory).remove(name);
}

void write_file_atomic(const std::string& path, std::string_view data, mode_t mode) {
    replace(path, data, mode, true);
}

void replace_file(const std::string& path, std::string_view data, mode_t mode) {
    replace(path, data, mode, false);
}

std::string read_file(int fd, std::size_t max) {
    std::string data;
    char buffer[16384];
    for (;;) {
        const ssize_t got = ::read(fd, buffer, sizeof buffer);
        if (got == 0) return data;
        if (got < 0) {
            if (errno == EINTR) continue;
            fail("cannot read a file");
        }
        if (static_cast<std::size_t>(got) > max - data.size()) {
            throw std::system_error(EFBIG, std::generic_category(), "a file is larger than allowed");
        }
        data.append(buffer, static_cast<std::size_t>(got));
    }
}

std::string read_file(const std::string& path, std::size_t max) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) fail("cannot open " + path);
    try {
        return read_file(file.get(), max);
    } catch (const std::system_error& error) {
        throw std::system_error(error.code(), "cannot read " + path);
    }
}

}  // namespace minions
