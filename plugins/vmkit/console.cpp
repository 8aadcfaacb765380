#include "plugins/vmkit/console.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/files.hpp>
#include <minions/error.hpp>

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

namespace minions::vmkit {

namespace {

/// What is kept of one output is bounded by the shim; this bounds what is read should that be configured
/// away.
constexpr std::size_t most_kept = std::size_t{64} << 20U;

Fd open_output(const std::string& path) {
    Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file && errno != ENOENT) throw error_from_errno(errno, "cannot read " + path);
    return file;
}

ino_t inode_of(const Fd& file) {
    struct stat info {};
    return file && ::fstat(file.get(), &info) == 0 ? info.st_ino : 0;
}

std::string_view tail_of(std::string_view text, std::int64_t lines) {
    std::size_t at = text.size();
    if (at > 0 && text[at - 1] == '\n') --at;
    for (; lines > 0 && at != std::string_view::npos && at > 0; --lines) {
        const std::size_t before = text.rfind('\n', at - 1);
        if (before == std::string_view::npos) return text;
        if (lines == 1) return text.substr(before + 1);
        at = before;
    }
    return lines > 0 ? text : text.substr(text.size());
}

/// One reader of an output. False of its functions: nobody reads any more.
class Follower {
  public:
    Follower(const Context& ctx, std::string path, Fd out)
        : ctx_(ctx), path_(std::move(path)), out_(std::move(out)) {
        make_nonblocking(out_.get());
    }

    /// Begins to notice changes: before the first read, so that none is missed.
    void watch(const std::string& directory) {
        notify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
        constexpr std::uint32_t changes = IN_MODIFY | IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO;
        if (!notify_ || ::inotify_add_watch(notify_.get(), directory.c_str(), changes) < 0)
            throw error_from_errno(errno, "cannot follow a console");
    }

    bool write_kept(const std::optional<std::int64_t>& tail) {
        std::string kept;
        const Fd older = open_output(path_ + ".1");
        current_ = open_output(path_);
        // Rotated in between: what was just opened as older is not what comes before.
        if (older && inode_of(older) != inode_of(current_)) kept = read_file(older.get(), most_kept);
        if (current_) kept += read_file(current_.get(), most_kept);
        return write(tail ? tail_of(kept, *tail) : std::string_view(kept));
    }

    bool write_new() {
        for (;;) {
            if (!current_) current_ = open_output(path_);
            if (!current_) return true;
            std::array<char, 64 << 10> buffer;
            const ssize_t got = ::read(current_.get(), buffer.data(), buffer.size());
            if (got < 0 && errno != EINTR) throw error_from_errno(errno, "cannot read a console");
            if (got > 0 && !write({buffer.data(), static_cast<std::size_t>(got)})) return false;
            if (got != 0) continue;
            // At its end: it may have been replaced by a new one.
            Fd newer = open_output(path_);
            if (!newer || inode_of(newer) == inode_of(current_)) return true;
            current_ = std::move(newer);
        }
    }

    /// Waits for a change. False when `over` is readable instead.
    bool wait(int over) {
        pollfd fds[] = {
            {notify_.get(), POLLIN, 0}, {over, POLLIN, 0}, {ctx_.cancel_fd(), POLLIN, 0}, {out_.get(), 0, 0}};
        poll_until(fds, 4, ctx_.deadline());
        ctx_.check();
        std::array<char, 4096> events;
        while (::read(notify_.get(), events.data(), events.size()) > 0) {
        }
        return fds[1].revents == 0 && (fds[3].revents & (POLLERR | POLLHUP)) == 0;
    }

  private:
    bool write(std::string_view text) {
        while (!text.empty()) {
            ctx_.check();
            const ssize_t put = ::write(out_.get(), text.data(), text.size());
            if (put > 0) text.remove_prefix(static_cast<std::size_t>(put));
            if (put >= 0 || errno == EINTR) continue;
            if (errno != EAGAIN) return false;
            pollfd fds[] = {{out_.get(), POLLOUT, 0}, {ctx_.cancel_fd(), POLLIN, 0}};
            poll_until(fds, 2, ctx_.deadline());
        }
        return true;
    }

    const Context& ctx_;
    std::string path_;
    Fd out_;
    Fd notify_;
    Fd current_;
};

}  // namespace

void read_output(const Context& ctx, const std::string& directory, const std::string& name,
                 const LogsSpec& spec, int over, Fd out) {
    Follower follower(ctx, directory + "/" + name, std::move(out));
    if (spec.follow) follower.watch(directory);
    if (!follower.write_kept(spec.tail)) return;
    if (!spec.follow) return;
    while (follower.wait(over))
        if (!follower.write_new()) return;
    follower.write_new();
}

std::string last_lines(const std::string& directory, const std::string& name, std::size_t lines) {
    const Fd file = open_output(directory + "/" + name);
    if (!file) return {};
    const std::string text = read_file(file.get(), most_kept);
    std::string_view tail = tail_of(text, static_cast<std::int64_t>(lines));
    while (!tail.empty() && (tail.back() == '\n' || tail.back() == '\r')) tail.remove_suffix(1);
    return std::string(tail);
}

}  // namespace minions::vmkit
