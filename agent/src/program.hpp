#pragma once

#include "session.hpp"

#include <minions/agent/pipes.hpp>
#include <minions/base/spawn.hpp>

#include <array>
#include <optional>
#include <string>

namespace minions::agent {

/// A running program whose descriptors are channels of a stream: what exec and the file transfers have in
/// common. Ends when the program has ended and what it had written by then has been sent. Whoever it leaves
/// in the background lives on after a normal end, and is killed with its session after any other.
class Program : public Task {
  public:
    struct Pipes {
        Fd input;  ///< to the program, if it has any
        Fd output;
        Fd error;
    };

    Program(Session& session, std::uint32_t stream, Process process, Pipes pipes);
    ~Program() override;

    /// Kills it, and answers `deadline`, when this time is over.
    void limit(std::chrono::milliseconds span);

    void data(std::uint8_t channel, std::string_view bytes) override;
    void eof(std::uint8_t channel) override;
    void grant(std::uint8_t channel, std::uint32_t bytes) override;
    void stop(std::uint8_t channel) override;
    void control(const Fields& fields) override;
    void cancel() override;

  protected:
    /// The `end` of a program that ended by itself.
    virtual Fields describe(const ExitStatus& status);

  private:
    Outlet* outlet(std::uint8_t channel);
    void kill_all();
    void on_exit();
    void end_if_over();

    Session& session_;
    std::uint32_t stream_;
    Process process_;
    std::optional<Inlet> input_;
    std::array<std::optional<Outlet>, 2> outputs_;
    std::optional<Loop::TimerId> timer_;
    std::optional<ExitStatus> status_;
    std::optional<End> killed_for_;
    int dying_looks_ = 0;
};

}  // namespace minions::agent
