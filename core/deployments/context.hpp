#pragma once

#include <minions/base/event_fd.hpp>
#include <minions/base/fd.hpp>

#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>

namespace minions::core {

/// The name that a generated Dockerfile has in the build context. A file of the repository that is called so
/// is left out. It does not vary, because the context's file names decide what the builder finds in its
/// cache.
inline constexpr const char* generated_dockerfile_name = ".minions.Dockerfile";

/// A build context: everything of a clone but `.git`, as a tar stream with links stored as links, with the
/// generated Dockerfile added. A `.dockerignore` is not applied (that is a habit of engines' own clients): it
/// is a file like others, so that a context is the repository and nothing else. Written by a thread of its
/// own, which ends when the reader goes away.
class ContextStream {
  public:
    /// Throws Error where the tree cannot be opened.
    ContextStream(const std::filesystem::path& tree, std::optional<std::string> dockerfile,
                  std::uint64_t max_bytes);
    /// Ends the writer, whoever still holds the reader.
    ~ContextStream();
    ContextStream(const ContextStream&) = delete;
    ContextStream& operator=(const ContextStream&) = delete;

    /// What the builder reads. Once.
    Fd take_reader() { return std::move(reader_); }

    /// To be called when nobody reads any more: throws Error{failed} if the tree could not be packed. A
    /// reader that went away early is no error here.
    void check();

  private:
    void end();
    void write(Fd tree, const std::optional<std::string>& dockerfile, std::uint64_t max_bytes) noexcept;

    Fd reader_;
    Fd writer_;            ///< kept beside the thread, so that one that is stuck can be freed
    std::string problem_;  ///< written by the thread, read after it has been joined
    std::thread thread_;
};

}  // namespace minions::core
