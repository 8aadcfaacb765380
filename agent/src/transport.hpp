#pragma once

#include "session.hpp"

#include <memory>
#include <string>

namespace minions::agent {

/// Where the host is found.
struct Address {
    enum class Kind { automatic, vsock, serial, unix_socket };
    Kind kind = Kind::automatic;
    std::string path;  ///< of the socket or the port's device; empty: the port with our name
    unsigned port = vsock_port;
};

/// "auto", "vsock[:PORT]", "serial[:DEVICE]", "unix:PATH". Throws std::invalid_argument with a sentence.
Address parse_address(const std::string& text);

/// Keeps a session with the host: dials, and dials again with growing pauses when it is lost. Belongs to the
/// loop's thread.
class Dialler {
  public:
    Dialler(Loop& loop, Machine& machine, Address address);
    ~Dialler();

    void dial();

  private:
    struct Dialled {
        Fd fd;
        Session::Transport transport;
    };
    Dialled open() const;
    void lost(const std::string& reason);
    void again();

    Loop& loop_;
    Machine& machine_;
    Address address_;
    std::unique_ptr<Session> session_;
    std::chrono::milliseconds pause_;
    std::string last_reason_;
};

}  // namespace minions::agent
