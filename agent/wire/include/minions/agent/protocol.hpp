#pragma once

#include <cstddef>
#include <cstdint>

/// The numbers of docs/agent-protocol.md, which says what they mean.
namespace minions::agent {

constexpr std::int64_t protocol_version = 1;
constexpr unsigned vsock_port = 1024;
/// The virtio-serial port by which guest and host find each other.
constexpr const char* serial_port_name = "org.minions.agent.0";

constexpr std::size_t header_bytes = 16;
constexpr std::size_t most_payload = std::size_t{64} << 10U;
constexpr std::uint8_t frame_magic = 0xD7;
/// What each channel may have under way before the receiver says that it has taken some.
constexpr std::uint32_t initial_window = std::uint32_t{256} << 10U;
constexpr std::size_t nonce_bytes = 16;

enum class FrameType : std::uint8_t {
    reset = 1,
    reset_done,
    hello,
    welcome,
    request,
    data,
    eof,
    window,
    stop,
    control,
    cancel,
    end,
};
constexpr auto last_frame_type = FrameType::end;

enum class Method : std::uint8_t {
    ping = 1,
    exec,
    read_files,
    write_files,
    forward,
    network,
    status,
    set_time,
    freeze,
    thaw,
    grow,
    shutdown,
};

enum Channel : std::uint8_t { channel_input = 0, channel_output = 1, channel_error = 2 };

/// How a request ended.
enum class End : std::uint8_t {
    done = 0,        ///< as asked; an exec: with exit_code
    signaled,        ///< an exec: killed by a signal that we did not send
    deadline,        ///< its time was over, and what it had started has been killed
    cancelled,       ///< the host gave it up
    not_found,       ///< no such program or file
    not_executable,  ///< an exec: there, but it cannot be run
    refused,         ///< it cannot be done as asked: the message says why
    failed,          ///< tried, and failed: the message says how
    unsupported      ///< this agent does not know the method
};

namespace tag {
enum : std::uint8_t {
    // hello and welcome
    version = 1,
    software,
    boot_id,
    nonce,
    epoch,
    // request
    method = 10,
    argument,
    variable,
    directory,
    user,
    timeout_ms,
    terminal,
    rows,
    columns,
    input,
    path,
    port,
    // control
    signal = 30,
    // end
    how = 40,
    message,
    exit_code,
    // network
    address = 50,
    gateway,
    name_server,
    host_name,
    mac,
    mtu,
    // set_time, shutdown
    unix_ns = 60,
    reboot,
    // status
    uptime_seconds = 70,
    memory_total_bytes,
    memory_used_bytes,
    disk_total_bytes,
    disk_used_bytes,
    cpu_percent_milli,
    received_bytes,
    sent_bytes,
    load_1m_milli
};
}  // namespace tag

}  // namespace minions::agent
