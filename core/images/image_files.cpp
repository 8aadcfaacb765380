#include "core/images/image_files.hpp"

#include "core/images/manifest.hpp"
#include "core/store/ids.hpp"

#include <minions/base/failpoint.hpp>
#include <minions/base/fd.hpp>
#include <minions/base/files.hpp>
#include <minions/base/id.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <system_error>
#include <vector>

namespace minions::core {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t piece_bytes = std::size_t{256} << 10U;
constexpr const char* draft_prefix = ".new-";
constexpr std::array kept_files = {disk_file, kernel_file, initramfs_file, manifest_file};

Fd open_file(const fs::path& path, int flags, mode_t mode = 0) {
    Fd file(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!file) throw error_from_errno(errno, fmt::format("cannot open {}", path.string()));
    return file;
}

std::size_t read_piece(int fd, std::vector<char>& buffer, const fs::path& path) {
    for (;;) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got >= 0) return static_cast<std::size_t>(got);
        if (errno != EINTR) throw error_from_errno(errno, fmt::format("cannot read {}", path.string()));
    }
}

void sync_file(const fs::path& path, int flags) {
    if (::fsync(open_file(path, flags).get()) != 0)
        throw error_from_errno(errno, fmt::format("cannot write {} to the disk", path.string()));
}

/// Removes all but the image's own files, and lets `group` read those.
void prepare_files(const fs::path& directory, const std::optional<gid_t>& group) {
    const Fd opened = open_file(directory, O_RDONLY | O_DIRECTORY);
    for (const auto& entry : fs::directory_iterator(directory)) {
        const std::string name = entry.path().filename();
        if (std::find(kept_files.begin(), kept_files.end(), name) == kept_files.end())
            remove_tree(opened.get(), name);
    }
    const auto give = [&](const Fd& file, mode_t mode, const fs::path& path) {
        if ((group && ::fchown(file.get(), 0, *group) != 0) || ::fchmod(file.get(), mode) != 0 ||
            ::fsync(file.get()) != 0)
            throw error_from_errno(errno, fmt::format("cannot finish {}", path.string()));
    };
    for (const char* name : kept_files) {
        const Fd file = open_file(directory / name, O_RDONLY);
        struct stat info {};
        if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
            throw Error{Code::failed, fmt::format("the image has no file '{}'", name)};
        give(file, 0640, directory / name);
    }
    give(opened, 0710, directory);
}

}  // namespace

std::string file_sha256(const fs::path& path, const StillWanted& still_wanted) {
    const Fd file = open_file(path, O_RDONLY);
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    bool good = context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
    std::vector<char> buffer(piece_bytes);
    std::uint64_t done = 0;
    for (std::size_t got = 0; good && (got = read_piece(file.get(), buffer, path)) > 0; done += got) {
        if (still_wanted) still_wanted(done);
        good = EVP_DigestUpdate(context.get(), buffer.data(), got) == 1;
    }
    std::string digest(32, '\0');
    good = good &&
           EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr) == 1;
    if (!good) throw Error{Code::internal, "SHA-256 cannot be computed"};
    return hex(digest);
}

std::optional<FileStamp> file_stamp(const fs::path& path) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
    const auto nanoseconds = [](const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; };
    return FileStamp{info.st_size, static_cast<std::int64_t>(info.st_ino), nanoseconds(info.st_mtim),
                     nanoseconds(info.st_ctim)};
}

void SparseWriter::write(std::string_view data) {
    constexpr std::size_t block = 4096;
    static constexpr std::array<char, block> zeros{};
    if (data.size() > max_bytes_ - at_)
        throw Error{Code::too_large, fmt::format("the image is larger than {} bytes", max_bytes_),
                    "raise images.max_bytes"};
    while (!data.empty()) {
        const std::string_view piece = data.substr(0, std::min(data.size(), block - at_ % block));
        const bool hole = piece.size() == block && piece == std::string_view(zeros.data(), block);
        if (!hole) {
            const ssize_t put = ::pwrite(fd_, piece.data(), piece.size(), static_cast<off_t>(at_));
            if (put < 0 && errno == EINTR) continue;
            if (put <= 0) throw error_from_errno(errno, "cannot write the image");
            at_ += static_cast<std::uint64_t>(put);
            data.remove_prefix(static_cast<std::size_t>(put));
            continue;
        }
        at_ += block;
        data.remove_prefix(block);
    }
}

std::uint64_t SparseWriter::finish() {
    if (::ftruncate(fd_, static_cast<off_t>(at_)) != 0)
        throw error_from_errno(errno, "cannot write the image");
    return at_;
}

void copy_image_file(const fs::path& from, const fs::path& to) {
    const Fd source = open_file(from, O_RDONLY);
    const Fd target = open_file(to, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (::ioctl(target.get(), FICLONE, source.get()) == 0) return;
    SparseWriter writer(target.get(), UINT64_MAX);
    std::vector<char> buffer(piece_bytes);
    for (std::size_t got = 0; (got = read_piece(source.get(), buffer, from)) > 0;)
        writer.write({buffer.data(), got});
    writer.finish();
}

JournalRecord image_files_record(const std::string& name, const std::string& operation) {
    JournalRecord record;
    record.row.kind = image_files_kind;
    record.row.key = name;
    record.operation = operation;
    record.created_at = now_rfc3339();
    return record;
}

void remove_image_directory(const fs::path& images, const std::string& name) {
    const Fd parent(::open(images.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent) {
        if (errno == ENOENT) return;
        throw error_from_errno(errno, fmt::format("cannot open {}", images.string()));
    }
    try {
        remove_tree(parent.get(), name);
    } catch (const std::system_error& error) {
        throw error_from_errno(error.code().value(),
                               fmt::format("cannot remove {}/{}", images.string(), name));
    }
}

Draft::Draft(Store& store, const fs::path& images, const std::string& operation)
    : store_(store), images_(images), path_(images / (draft_prefix + make_id())) {
    const auto record = image_files_record(path_.filename(), operation);
    row_ = store_.transact([&](Transaction& transaction) { return transaction.insert_journal(record); });
    if (::mkdir(path_.c_str(), 0700) != 0) {
        const int failure = errno;
        try {
            store_.transact([&](Transaction& transaction) { transaction.delete_journal(row_); });
        } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the next start finds the row, and nothing
        }
        throw error_from_errno(failure, fmt::format("cannot make the directory {}", path_.string()));
    }
}

Draft::~Draft() {
    if (row_ == 0) return;
    try {
        remove_image_directory(images_, path_.filename());
        store_.transact([&](Transaction& transaction) { transaction.delete_journal(row_); });
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the row stays
    }
}

std::int64_t Draft::install(const std::string& name, std::optional<gid_t> group) {
    MINIONS_FAILPOINT("image.install.before");
    prepare_files(path_, group);
    const auto record = image_files_record(name, "");
    const std::int64_t row =
        store_.transact([&](Transaction& transaction) { return transaction.insert_journal(record); });
    if (::rename(path_.c_str(), (images_ / name).c_str()) != 0) {
        const int failure = errno;
        store_.transact([&](Transaction& transaction) { transaction.delete_journal(row); });
        throw error_from_errno(failure, fmt::format("cannot make {} an image", path_.string()));
    }
    sync_file(images_, O_RDONLY | O_DIRECTORY);
    store_.transact([&](Transaction& transaction) { transaction.delete_journal(row_); });
    row_ = 0;
    return row;
}

}  // namespace minions::core
