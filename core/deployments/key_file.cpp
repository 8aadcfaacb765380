#include "core/deployments/key_file.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/files.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <string.h>  // explicit_bzero
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace minions::core {
namespace {

constexpr std::size_t max_key_bytes = 16 * 1024;

[[noreturn]] void refuse(std::string what, std::string cure = {}) {
    throw Error(Code::invalid, "field 'ssh_key_path' " + what, std::move(cure));
}

Fd open_key(int directory, const std::filesystem::path& path) {
    try {
        // O_NONBLOCK: a FIFO in the directory must not hold the daemon up.
        return open_beneath(directory, path.string(), O_RDONLY | O_NOCTTY | O_NONBLOCK);
    } catch (const std::system_error& error) {
        const int code = error.code().value();
        if (code == ENOSYS || code == EPERM) {
            throw Error(Code::unavailable, "this kernel cannot open a key safely (openat2)",
                        "use Linux 5.6 or newer");
        }
        if (code == ELOOP || code == EXDEV) {
            refuse("leads through a symbolic link or out of the key directory");
        }
        refuse("names no file that can be read", "put the key below deployments.key_dir");
    }
}

}  // namespace

SecretBytes::SecretBytes(SecretBytes&& other) noexcept : bytes_(other.bytes_) { wipe(other.bytes_); }

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
    if (this != &other) {
        bytes_.swap(other.bytes_);
        wipe(other.bytes_);
    }
    return *this;
}

void SecretBytes::wipe(std::string& text) noexcept {
    text.resize(text.capacity());
    ::explicit_bzero(text.data(), text.size());
    text.clear();
}

std::filesystem::path check_key_path(std::string_view path, const std::filesystem::path& key_dir) {
    if (key_dir.empty()) {
        refuse("cannot be used: this daemon has no key directory",
               "let the operator set deployments.key_dir");
    }
    if (path.empty() || path.size() > 1024 || path.find('\0') != std::string_view::npos) {
        refuse("must have 1 to 1024 bytes without NUL");
    }
    const std::filesystem::path given(path);
    for (const auto& part : given) {
        if (part == "..") refuse("must not contain '..'");
    }
    if (given.is_relative()) return given;
    const auto relative = given.lexically_normal().lexically_relative(key_dir.lexically_normal());
    if (relative.empty() || relative == "." || *relative.begin() == "..") {
        refuse("must name a file in the daemon's key directory",
               "put the key below deployments.key_dir and give its path from there");
    }
    return relative;
}

SecretBytes read_key(std::string_view path, const std::filesystem::path& key_dir) {
    const auto relative = check_key_path(path, key_dir);
    const Fd directory(::open(key_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory) {
        refuse("cannot be used: the daemon's key directory cannot be opened",
               "let the operator check deployments.key_dir");
    }
    const Fd file = open_key(directory.get(), relative);
    struct stat info {};
    if (::fstat(file.get(), &info) != 0) throw error_from_errno(errno, "cannot read the key");
    if (!S_ISREG(info.st_mode)) refuse("must name a regular file");
    if ((info.st_mode & 077U) != 0) {
        refuse("names a file that others may read or write", "take the rights away with chmod 600");
    }
    if (info.st_uid != 0 && info.st_uid != ::geteuid()) {
        refuse("names a file that belongs neither to root nor to the daemon's user");
    }
    if (info.st_size <= 0 || static_cast<std::size_t>(info.st_size) > max_key_bytes) {
        refuse("must name a file of 1 to 16384 bytes");
    }
    std::string bytes(static_cast<std::size_t>(info.st_size), '\0');
    if (!read_exact(file.get(), bytes.data(), bytes.size())) refuse("names an empty file");
    SecretBytes key(bytes);
    SecretBytes::wipe(bytes);
    return key;
}

}  // namespace minions::core
