import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** What a program with JDBC does, with the driver's defaults: Smoke jdbc:clickhouse://host:port/ password. */
public class Smoke {
    public static void main(String[] arguments) throws SQLException {
        try (Connection connection = DriverManager.getConnection(arguments[0], "default", arguments[1]);
             Statement statement = connection.createStatement()) {
            statement.execute("CREATE DATABASE jdbc");
            statement.execute("CREATE TABLE jdbc.t (id UInt64, name String, price Decimal(38, 18), at DateTime64(6, 'UTC'))"
                + " ENGINE = MergeTree ORDER BY id");
            try (PreparedStatement insert = connection.prepareStatement(
                     "INSERT INTO jdbc.t (id, name, price, at) VALUES (?, ?, ?, '2024-08-08 01:02:03.000456')")) {
                for (int n = 0; n < 1000; n++) {
                    insert.setLong(1, n);
                    insert.setString(2, "it's " + n);
                    insert.setBigDecimal(3, new java.math.BigDecimal("0.000000000000000001"));
                    insert.addBatch();
                }
                insert.executeBatch();
            }
            try (PreparedStatement select = connection.prepareStatement(
                     "SELECT id, name, price, at FROM jdbc.t WHERE id >= ? ORDER BY id")) {
                select.setLong(1, 998);
                try (ResultSet found = select.executeQuery()) {
                    while (found.next()) {
                        System.out.println(found.getLong("id") + " " + found.getString("name") + " "
                            + found.getBigDecimal("price").toPlainString() + " " + found.getString("at"));
                    }
                }
            }
            try (ResultSet found = statement.executeQuery("SELECT count() FROM jdbc.t")) {
                found.next();
                System.out.println(found.getLong(1));
            }
            try (ResultSet found = connection.getMetaData().getTables(null, "jdbc", "%", null)) {
                while (found.next()) {
                    System.out.println("table " + found.getString("TABLE_NAME"));
                }
            }
            try (ResultSet found = connection.getMetaData().getColumns(null, "jdbc", "t", "%")) {
                while (found.next()) {
                    System.out.println("column " + found.getString("COLUMN_NAME"));
                }
            }
            try {
                statement.executeQuery("SELECT * FROM jdbc.none");
            } catch (SQLException failure) {
                System.out.println("code " + failure.getErrorCode());
            }
            statement.execute("DROP DATABASE jdbc");
        }
    }
}
