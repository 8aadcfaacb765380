#include "program.hpp"

#include <sys/epoll.h>

#include <csignal>
#include <cstdio>

namespace minions::agent {

namespace {

/// Kills every process of a session, also those that left its first process group. The session's leader must
/// not have been reaped yet: until then its number is its own. Returns whether there was any but the leader.
bool kill_session(pid_t session) {
    bool found = false;
    for (const pid_t pid : process_ids()) {
        if (pid <= 1 || ::getsid(pid) != session) continue;
        ::kill(pid, SIGKILL);
        found = found || (pid != session && process_start_time(pid));
    }
    return found;
}

constexpr auto dying_pause = std::chrono::milliseconds(2);
constexpr int most_dying_looks = 500;

}  // namespace

Program::Program(Session& session, std::uint32_t stream, Process process, Pipes pipes)
    : session_(session), stream_(stream), process_(std::move(process)) {
    Link& link = session_.link();
    const auto over = [this] { end_if_over(); };
    if (pipes.input) input_.emplace(link, ChannelId{stream_, channel_input}, std::move(pipes.input), [] {});
    if (pipes.output)
        outputs_[0].emplace(link, ChannelId{stream_, channel_output}, std::move(pipes.output), over);
    if (pipes.error)
        outputs_[1].emplace(link, ChannelId{stream_, channel_error}, std::move(pipes.error), over);
    link.loop().watch(process_.pidfd(), EPOLLIN, [this](std::uint32_t) { on_exit(); });
}

Program::~Program() {
    if (timer_) session_.link().loop().cancel(*timer_);
    session_.link().loop().forget(process_.pidfd());
    if (!status_) kill_all();
}

void Program::limit(std::chrono::milliseconds span) {
    timer_ = session_.link().loop().after(span, [this] {
        timer_.reset();
        if (status_) return;
        killed_for_ = End::deadline;
        kill_all();
    });
}

void Program::kill_all() {
    process_.kill_group(SIGKILL);
    kill_session(process_.pid());
}

Outlet* Program::outlet(std::uint8_t channel) {
    if (channel != channel_output && channel != channel_error) return nullptr;
    auto& found = outputs_[channel - channel_output];
    return found ? &*found : nullptr;
}

void Program::data(std::uint8_t channel, std::string_view bytes) {
    if (channel == channel_input && input_) input_->take(bytes);
}

void Program::eof(std::uint8_t channel) {
    if (channel == channel_input && input_) input_->end();
}

void Program::grant(std::uint8_t channel, std::uint32_t bytes) {
    if (Outlet* found = outlet(channel)) found->grant(bytes);
}

void Program::stop(std::uint8_t channel) {
    if (Outlet* found = outlet(channel)) found->stop();
}

void Program::control(const Fields& fields) {
    const auto signal = fields.number(tag::signal);
    if (signal && *signal > 0 && *signal < NSIG && !status_) process_.kill_group(static_cast<int>(*signal));
}

void Program::cancel() {
    if (!status_ && !killed_for_) {
        killed_for_ = End::cancelled;
        kill_all();
    }
    for (auto& output : outputs_)
        if (output) output->stop();
}

void Program::on_exit() {
    session_.link().loop().forget(process_.pidfd());
    // Who was made while we killed; and what we say has been killed is to be dead. Before the reaping frees
    // the number.
    if (killed_for_ && kill_session(process_.pid()) && ++dying_looks_ < most_dying_looks) {
        timer_ = session_.link().loop().after(dying_pause, [this] {
            timer_.reset();
            on_exit();
        });
        return;
    }
    status_ = process_.wait(Deadline::clock::now());
    if (input_ && input_->open()) input_.reset();
    for (auto& output : outputs_)
        if (output) output->finish_when_empty();
    end_if_over();
}

void Program::end_if_over() {
    for (const auto& output : outputs_)
        if (output && output->open()) return;
    if (!status_) return;
    session_.end(stream_, killed_for_ ? ended(*killed_for_) : describe(*status_));
}

Fields Program::describe(const ExitStatus& status) {
    if (status.signal != 0) return ended(End::signaled).add_number(tag::signal, status.signal);
    return ended(End::done).add_number(tag::exit_code, status.code);
}

}  // namespace minions::agent
