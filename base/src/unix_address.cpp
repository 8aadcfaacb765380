#include <minions/base/unix_address.hpp>

#include <cstring>
#include <stdexcept>

namespace minions {

UnixAddress::UnixAddress(const std::string& path) {
    if (path.empty() || path.size() > longest || path.find('\0') != std::string::npos)
        throw std::invalid_argument("'" + path + "' cannot be the path of a socket: it needs 1 to " +
                                    std::to_string(longest) + " bytes");
    address_.sun_family = AF_UNIX;
    std::memcpy(address_.sun_path, path.data(), path.size());
}

int UnixAddress::bind(int socket) const noexcept {
    return ::bind(socket, reinterpret_cast<const sockaddr*>(&address_), sizeof address_);
}

int UnixAddress::connect(int socket) const noexcept {
    return ::connect(socket, reinterpret_cast<const sockaddr*>(&address_), sizeof address_);
}

}  // namespace minions
