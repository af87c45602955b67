"""The paper's theory, measured on manifolds whose dimension, measure and density are known."""
