#pragma once

#include "core/store/store.hpp"

#include <minions/error.hpp>

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace minions::core {

/// Called between pieces of what takes long; throws to end it. May be empty. `done` counts bytes.
using StillWanted = std::function<void(std::uint64_t done)>;

/// Lower-case hex of a file's SHA-256. Throws Error.
std::string file_sha256(const std::filesystem::path& path, const StillWanted& still_wanted);

/// What changes when somebody writes to a file or replaces it. The time of the last change of the inode
/// (ctime) cannot be set by anybody, other than that of its contents.
struct FileStamp {
    std::int64_t bytes = 0;
    std::int64_t inode = 0;
    std::int64_t modified_ns = 0;
    std::int64_t changed_ns = 0;
    bool operator==(const FileStamp&) const = default;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("bytes", self.bytes);
        visit("inode", self.inode);
        visit("modified_ns", self.modified_ns);
        visit("changed_ns", self.changed_ns);
    }
};
/// Of a regular file, not of a link to one; nothing where there is none.
std::optional<FileStamp> file_stamp(const std::filesystem::path& path);

/// Writes a file, leaving holes where it is zero. Throws Error.
class SparseWriter {
  public:
    /// Beyond `max_bytes` write() throws too_large, naming `setting`.
    SparseWriter(int fd, std::uint64_t max_bytes) : fd_(fd), max_bytes_(max_bytes) {}
    void write(std::string_view data);
    /// Gives the file its size. Nothing may be written after that.
    std::uint64_t finish();

  private:
    int fd_;
    std::uint64_t max_bytes_;
    std::uint64_t at_ = 0;
};

/// Copies a file, sharing its blocks where the file system can. Throws Error.
void copy_image_file(const std::filesystem::path& from, const std::filesystem::path& to);

/// The private directory in which an image is made, below the images' directory. Its journal row (of core's
/// own, kind "image-files", key the name) is committed before it exists, and removed once it is gone or has
/// become an image.
class Draft {
  public:
    /// Throws Error (no_space, unavailable).
    Draft(Store& store, const std::filesystem::path& images, const std::string& operation);
    /// Removes it; what fails is left to the next start, which finds the row.
    ~Draft();
    Draft(const Draft&) = delete;
    Draft& operator=(const Draft&) = delete;

    const std::filesystem::path& path() const noexcept { return path_; }
    /// Makes it durable, with nothing in it but the image's files as `group` may read them, and gives it the
    /// name `name`, for which a journal row is committed first: an image that no row of `images` knows goes
    /// at the next start. Returns that row, to be deleted when the image is known. Throws Error.
    std::int64_t install(const std::string& name, std::optional<gid_t> group);

  private:
    Store& store_;
    const std::filesystem::path images_;
    std::filesystem::path path_;
    std::int64_t row_ = 0;
};

/// The kind of the journal rows, and the row that says that a directory below the images' is to go.
inline constexpr const char* image_files_kind = "image-files";
JournalRecord image_files_record(const std::string& name, const std::string& operation);

/// Removes one directory below the images', whatever is in it. Throws Error.
void remove_image_directory(const std::filesystem::path& images, const std::string& name);

}  // namespace minions::core
