#include "shim/output_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>

namespace minions::shim {

void OutputFile::write(std::string_view piece) noexcept {
    while (!piece.empty()) {
        if (!file_ && !open()) return;
        if (size_ >= bound_ && !rotate()) return;
        const ssize_t put = ::write(file_.get(), piece.data(), std::min(piece.size(), bound_ - size_));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return;
        size_ += static_cast<std::size_t>(put);
        piece.remove_prefix(static_cast<std::size_t>(put));
    }
}

bool OutputFile::open() noexcept {
    Fd file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
    file_ = std::move(file);
    size_ = static_cast<std::size_t>(status.st_size);
    return true;
}

bool OutputFile::rotate() noexcept {
    if (::rename(path_.c_str(), (path_ + ".1").c_str()) != 0) return false;
    file_.reset();
    return open() && size_ < bound_;
}

}  // namespace minions::shim
