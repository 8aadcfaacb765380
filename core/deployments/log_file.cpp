#include "core/deployments/log_file.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/id.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

namespace minions::core {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t end_bytes = 16 * 1024;

Error no_log(const std::string& id) {
    return Error(Code::not_found, fmt::format("there is no log of a deployment '{}'", id));
}

}  // namespace

DeploymentLog::DeploymentLog(DeploymentLogs& logs, std::string id, Fd file, std::uint64_t max_bytes)
    : logs_(logs), id_(std::move(id)), file_(std::move(file)), max_bytes_(max_bytes) {}

DeploymentLog::~DeploymentLog() {
    {
        auto state = state_.lock();
        if (state->cut) {
            append("\n… the log was too long: this is its end …\n");
            append(state->end);
        }
        if (state->end.empty()) ::unlink(logs_.path_of(id_).c_str());
    }
    logs_.complete(id_);
}

void DeploymentLog::write(std::string_view bytes) noexcept {
    {
        auto state = state_.lock();
        state->end.append(bytes.substr(bytes.size() > end_bytes ? bytes.size() - end_bytes : 0));
        if (state->end.size() > 2 * end_bytes) state->end.erase(0, state->end.size() - end_bytes);
        if (state->cut) return;
        const auto room = max_bytes_ - std::min(max_bytes_, state->written);
        if (bytes.size() > room) {
            state->cut = true;
            return;
        }
        state->written += bytes.size();
        append(bytes);
    }
    logs_.grown(id_);
}

void DeploymentLog::line(std::string_view text) noexcept { write(std::string(text) + "\n"); }

std::string DeploymentLog::tail(std::size_t lines) const {
    const auto state = state_.lock();
    std::string_view end = state->end;
    while (!end.empty() && end.back() == '\n') end.remove_suffix(1);
    auto at = end.size();
    for (std::size_t count = 0; count < lines && at != std::string_view::npos && at != 0; ++count) {
        at = end.rfind('\n', at - 1);
    }
    return std::string(at == std::string_view::npos || at == 0 ? end : end.substr(at + 1));
}

void DeploymentLog::append(std::string_view bytes) noexcept {
    try {
        write_all(file_.get(), bytes.data(), bytes.size());
    } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch): see write()
    }
}

DeploymentLogs::DeploymentLogs(fs::path directory, std::uint64_t max_bytes, std::size_t kept)
    : directory_(std::move(directory)), max_bytes_(max_bytes), kept_(kept) {
    std::error_code error;
    fs::create_directories(directory_.parent_path(), error);
    if (::mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) {
        throw error_from_errno(errno, fmt::format("cannot make the directory {}", directory_.string()));
    }
}

std::unique_ptr<DeploymentLog> DeploymentLogs::create(const std::string& id) {
    const auto path = path_of(id);
    // Before the file: who finds that must not take it for complete.
    const bool begun = growing_.lock()->try_emplace(id).second;
    Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) {
        const int error = errno;
        if (begun) complete(id);
        throw error_from_errno(error, fmt::format("cannot make the log {}", path.string()));
    }
    return std::make_unique<DeploymentLog>(*this, id, std::move(file), max_bytes_);
}

void DeploymentLogs::read(const std::string& id, bool follow, int cancel_fd,
                          const std::function<void(std::string_view)>& sink) {
    if (!is_id(id)) throw no_log(id);
    const Fd file(::open(path_of(id).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file) throw no_log(id);

    EventFd grew;
    struct Registration {
        DeploymentLogs& logs;
        const std::string& id;
        EventFd& reader;
        bool growing() const {
            auto map = logs.growing_.lock();
            const auto found = map->find(id);
            if (found != map->end()) found->second.readers.insert(&reader);
            return found != map->end();
        }
        ~Registration() {
            auto map = logs.growing_.lock();
            if (const auto found = map->find(id); found != map->end()) found->second.readers.erase(&reader);
        }
    } registration{*this, id, grew};

    std::string buffer(64 * 1024, '\0');
    for (;;) {
        // Cleared before it is asked, and asked before reading, so that neither the last bytes nor the end
        // are missed.
        grew.clear();
        const bool more = follow && registration.growing();
        for (;;) {
            const auto count = ::read(file.get(), buffer.data(), buffer.size());
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) throw error_from_errno(errno, "cannot read the log");
            if (count == 0) break;
            sink(std::string_view(buffer.data(), static_cast<std::size_t>(count)));
        }
        if (!more) return;
        pollfd wait[2] = {{grew.fd(), POLLIN, 0}, {cancel_fd, POLLIN, 0}};
        poll_until(wait, 2, no_deadline);
        if (wait[1].revents != 0) return;
    }
}

void DeploymentLogs::prune() noexcept {
    try {
        std::vector<std::pair<fs::file_time_type, fs::path>> logs;
        for (const auto& entry : fs::directory_iterator(directory_)) {
            if (entry.path().extension() == ".log") logs.emplace_back(entry.last_write_time(), entry.path());
        }
        if (logs.size() <= kept_) return;
        std::sort(logs.begin(), logs.end());
        logs.resize(logs.size() - kept_);
        for (const auto& [time, path] : logs) {
            if (growing_.lock()->count(path.stem().string()) == 0) ::unlink(path.c_str());
        }
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the next deployment tries again
    }
}

fs::path DeploymentLogs::path_of(const std::string& id) const { return directory_ / (id + ".log"); }

void DeploymentLogs::grown(const std::string& id) noexcept {
    auto map = growing_.lock();
    if (const auto found = map->find(id); found != map->end()) {
        for (EventFd* reader : found->second.readers) reader->raise();
    }
}

void DeploymentLogs::complete(const std::string& id) noexcept {
    auto map = growing_.lock();
    if (const auto found = map->find(id); found != map->end()) {
        for (EventFd* reader : found->second.readers) reader->raise();
        map->erase(found);
    }
}

}  // namespace minions::core
