"""Oracles for the theorems: numpy in float64, sums and enumerations written out."""

import itertools
import math

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - np.max(logits))
    return weights / np.sum(weights)


def gibbs_tilt(reference_logits: np.ndarray, rewards: np.ndarray, beta: float) -> np.ndarray:
    """Probabilities of π_0 exp(r/β) / Z."""
    return softmax(np.log(softmax(reference_logits)) + rewards / beta)


def natural_gradient_norm(logits: np.ndarray, rewards: np.ndarray) -> float:
    """sqrt(gᵀ F⁺ g), F⁺ by eigendecomposition: the smallest eigenvalue is the null direction."""
    probs = softmax(logits)
    fisher = np.zeros((probs.size, probs.size))
    gradient = np.zeros(probs.size)
    for action, prob in enumerate(probs):
        score = np.eye(probs.size)[action] - probs
        fisher += prob * np.outer(score, score)
        gradient += prob * rewards[action] * score
    values, vectors = np.linalg.eigh(fisher)
    squared = sum((vectors[:, i] @ gradient) ** 2 / values[i] for i in range(1, probs.size))
    return math.sqrt(squared)


def reward_std(probs: np.ndarray, rewards: np.ndarray) -> float:
    mean = float(probs @ rewards)
    return math.sqrt(sum(prob * (reward - mean) ** 2 for prob, reward in zip(probs, rewards, strict=True)))


def group_estimator(logits: np.ndarray, rewards: np.ndarray, group_size: int, advantages) -> np.ndarray:
    """E[(1/G) Σ_i A_i ∇log π(a_i)] by enumeration of every group; `advantages` maps a list of rewards to a list."""
    probs = softmax(logits)
    total = np.zeros(probs.size)
    for group in itertools.product(range(probs.size), repeat=group_size):
        weight = math.prod(probs[action] for action in group)
        values = advantages([float(rewards[action]) for action in group])
        for action, value in zip(group, values, strict=True):
            total += weight * value / group_size * (np.eye(probs.size)[action] - probs)
    return total


def policy_gradient(logits: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """∇J in the logits: π(a)(r(a) - J)."""
    probs = softmax(logits)
    return probs * (rewards - probs @ rewards)
