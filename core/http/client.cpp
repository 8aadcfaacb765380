#include "core/http/request.hpp"

#include <poll.h>

namespace minions::core::http {

bool Client::gone() const {
    if (gone_) return true;
    const std::lock_guard lock(fd_mutex_);
    if (fd_ < 0) return false;
    pollfd entry{fd_, POLLRDHUP, 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

void Client::mark_gone() {
    if (!gone_.exchange(true)) notify();
}

void Client::mark_stopping() {
    if (!stopping_.exchange(true)) notify();
}

void Client::detach() {
    const std::lock_guard lock(fd_mutex_);
    fd_ = -1;
}

void Client::notify() {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, changed] : watches_) changed();
}

Client::Watch Client::watch(const std::shared_ptr<Client>& client, std::function<void()> changed) {
    Watch watch;
    const std::lock_guard lock(client->mutex_);
    if (client->gone_ || client->stopping_) changed();
    watch.client_ = client;
    watch.id_ = client->next_id_++;
    client->watches_.emplace(watch.id_, std::move(changed));
    return watch;
}

Client::Watch& Client::Watch::operator=(Watch&& other) noexcept {
    if (this != &other) {
        reset();
        client_ = std::move(other.client_);
        id_ = other.id_;
    }
    return *this;
}

void Client::Watch::reset() {
    if (!client_) return;
    const std::lock_guard lock(client_->mutex_);
    client_->watches_.erase(id_);
    // Unlocked before the client may go with this last reference.
    auto keep = std::move(client_);
    static_cast<void>(keep);
}

}  // namespace minions::core::http
