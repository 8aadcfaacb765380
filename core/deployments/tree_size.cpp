#include "core/deployments/tree_size.hpp"

#include <minions/base/fd.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>
#include <vector>

namespace minions::core {
namespace {

constexpr std::size_t max_depth = 256;
constexpr std::uint64_t page = 4096;

struct CloseDir {
    void operator()(DIR* stream) const { ::closedir(stream); }
};

class Measure {
  public:
    explicit Measure(std::uint64_t enough) : enough_(enough) {}

    std::uint64_t walk(const std::filesystem::path& root) {
        enter(AT_FDCWD, root.c_str());
        while (!levels_.empty() && total_ <= enough_) {
            DIR* const level = levels_.back().get();
            errno = 0;
            const dirent* entry = ::readdir(level);
            if (entry != nullptr) {
                count(::dirfd(level), entry->d_name);
            } else {
                if (errno != 0) total_ = unmeasurable;
                levels_.pop_back();
            }
        }
        return total_;
    }

  private:
    void count(int parent, const char* name) {
        if (std::string_view(name) == "." || std::string_view(name) == "..") return;
        struct stat info {};
        if (::fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return missed();
        const auto bytes = std::max(page, static_cast<std::uint64_t>(info.st_blocks) * 512);
        total_ += std::min(bytes, unmeasurable - total_);
        if (S_ISDIR(info.st_mode)) enter(parent, name);
    }

    void enter(int parent, const char* name) {
        Fd fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd) return missed();
        Directory stream(levels_.size() < max_depth ? ::fdopendir(fd.get()) : nullptr);
        if (!stream) {
            total_ = unmeasurable;
            return;
        }
        [[maybe_unused]] const int owned_by_stream = fd.release();
        levels_.push_back(std::move(stream));
    }

    /// `errno` says why something could not be looked at.
    void missed() {
        if (errno != ENOENT) total_ = unmeasurable;
    }

    using Directory = std::unique_ptr<DIR, CloseDir>;
    std::uint64_t enough_;
    std::uint64_t total_ = 0;
    std::vector<Directory> levels_;
};

}  // namespace

std::uint64_t tree_bytes(const std::filesystem::path& directory, std::uint64_t enough) {
    return Measure(enough).walk(directory);
}

}  // namespace minions::core
