//! Planner, executor and the command polyphase
