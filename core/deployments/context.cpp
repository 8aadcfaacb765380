#include "core/deployments/context.hpp"

#include <minions/base/tar.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>

namespace minions::core {
namespace {

constexpr std::size_t max_entries = 500'000;

}  // namespace

ContextStream::ContextStream(const std::filesystem::path& tree, std::optional<std::string> dockerfile,
                             std::uint64_t max_bytes) {
    Fd directory(::open(tree.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory) throw error_from_errno(errno, "cannot open the clone");
    // Not a pipe: writing to a socket whose reader went away raises no SIGPIPE.
    auto pair = make_socketpair(SOCK_STREAM);
    reader_ = std::move(pair.first);
    writer_ = std::move(pair.second);
    thread_ =
        std::thread([this, from = std::move(directory), file = std::move(dockerfile), max_bytes]() mutable {
            write(std::move(from), file, max_bytes);
            ::shutdown(writer_.get(), SHUT_WR);  // the reader sees the end
        });
}

ContextStream::~ContextStream() { end(); }

void ContextStream::end() {
    ::shutdown(writer_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
}

void ContextStream::check() {
    end();
    if (!problem_.empty()) {
        throw Error(Code::failed, "the repository cannot be made a build context: " + problem_);
    }
}

void ContextStream::write(Fd tree, const std::optional<std::string>& dockerfile,
                          std::uint64_t max_bytes) noexcept {
    bool reader_gone = false;
    try {
        TarLimits limits;
        limits.max_bytes = max_bytes;
        limits.max_entries = max_entries;
        TarWriter tar(
            [&](std::string_view piece) {
                try {
                    write_all(writer_.get(), piece.data(), piece.size());
                } catch (const std::system_error&) {
                    reader_gone = true;
                    throw;
                }
            },
            limits);
        TreeOptions options;
        options.exclude = {"/.git"};
        if (dockerfile) {
            tar.add_file(generated_dockerfile_name, *dockerfile);
            options.exclude.push_back(std::string("/") + generated_dockerfile_name);
        }
        tar.add_tree(tree.get(), options);
        tar.finish();
        return;
    } catch (const std::exception& error) {
        if (!reader_gone) problem_ = error.what();
    }
}

}  // namespace minions::core
